"""Selective augmentation in a training loop of one's own, with PyTorch's loader."""

import torch
from torch.nn import functional

import auglean as al


def main() -> float:
    data = al.splits("digits")
    model = al.networks.create("cnn", channels=1, classes=10, size=data.train.size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    train = al.AugmentSubset(data.train, "translate1-rotate15")
    sampler = al.AugmentSampler(data.train, selector="coreset", budget=0.1, every=2)
    loader = torch.utils.data.DataLoader(train, batch_size=64, sampler=sampler)
    for epoch in range(5):
        sampler.set_epoch(epoch)
        if (chosen := sampler.reselect(model)) is not None:
            print(f"epoch {epoch}: {chosen}")
        model.train()
        for x, y, weight in loader:
            loss = (functional.cross_entropy(model(x), y, reduction="none") * weight).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    accuracy = float(al.training.correct(model, data.validation).float().mean())
    print(f"validation accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
