"""A page as a reader sees it: its parts and its words; unclosed tags are found."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Parse a page: `ids` of its parts in order, `words` outside of styles."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and "svg" not in self.open]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
