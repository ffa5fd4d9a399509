//! Reads the HTML that promferry writes, strictly: what a browser would repair is an error here.

use std::collections::{BTreeMap, BTreeSet};

/// Elements that have no end.
const VOID: [&str; 4] = ["meta", "link", "input", "br"];

/// Elements whose text is not HTML; none is written with any.
const RAW: [&str; 2] = ["script", "style"];

/// One element, with all text in it.
#[derive(Clone, Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// Of it and of all elements in it, entities read.
    pub text: String,
    /// Places of the elements that it stands in, in the page; the outermost first.
    pub within: Vec<usize>,
}

impl Element {
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    fn has_class(&self, class: &str) -> bool {
        self.get("class").split(' ').any(|one| one == class)
    }
}

/// A page, its elements in the order in which they begin.
pub struct Page(pub Vec<Element>);

impl Page {
    /// # Panics
    /// With the place of what is no strict HTML.
    pub fn read(html: &str) -> Self {
        let body = html.strip_prefix("<!DOCTYPE html>\n").expect("it begins with its type");
        let (mut elements, mut open): (Vec<Element>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut rest = body;
        while let Some(at) = rest.find('<') {
            let (text, tag) = rest.split_at(at);
            let text = decoded(text);
            open.iter().for_each(|place| elements[*place].text.push_str(&text));
            let end = end_of_tag(tag);
            let (inside, after) = (&tag[1..end], &tag[end + 1..]);
            rest = after;
            if let Some(name) = inside.strip_prefix('/') {
                let place = open.pop().unwrap_or_else(|| panic!("</{name}> ends nothing"));
                assert_eq!(elements[place].name, name, "</{name}> before {after:.80}");
                continue;
            }
            let is_closed = inside.ends_with('/');
            let mut element = tag_of(inside.trim_end_matches('/'));
            element.within.clone_from(&open);
            assert!(!RAW.contains(&element.name.as_str()) || after.starts_with("</"), "inline <{}>", element.name);
            let is_void = VOID.contains(&element.name.as_str());
            elements.push(element);
            if !is_closed && !is_void {
                open.push(elements.len() - 1);
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "<{}> has no end", elements[open[0]].name);
        let page = Self(elements);
        page.check_names();
        page.check_structure();
        page
    }

    /// All elements of this name and class; any class where it is empty.
    pub fn all(&self, name: &str, class: &str) -> Vec<&Element> {
        let is_it = |element: &&Element| element.name == name && (class.is_empty() || element.has_class(class));
        self.0.iter().filter(is_it).collect()
    }

    /// The element of this `id`.
    pub fn id(&self, id: &str) -> &Element {
        self.0.iter().find(|element| element.get("id") == id).unwrap_or_else(|| panic!("#{id} is there"))
    }

    /// The link with exactly this text.
    pub fn link(&self, text: &str) -> &Element {
        let is_it = |element: &&Element| element.name == "a" && element.text == text;
        self.0.iter().find(is_it).unwrap_or_else(|| panic!("the link \"{text}\" is there"))
    }

    /// What is named is there, once; nothing is loaded from elsewhere, and nothing runs that is written in the page.
    fn check_names(&self) {
        let mut ids = BTreeSet::new();
        for element in &self.0 {
            let id = element.get("id");
            assert!(id.is_empty() || ids.insert(id), "#{id} is there twice");
            assert!(!id.contains(char::is_whitespace), "#{id}");
        }
        for element in &self.0 {
            for (name, value) in &element.attributes {
                assert!(!name.starts_with("on") && name != "style", "{name} of <{}>", element.name);
                match name.as_str() {
                    "href" | "src" | "action" => {
                        assert!(!value.starts_with('/') && !value.contains(':'), "{value} is not relative");
                        let fragment =
                            value.split_once('#').map_or("", |(page, id)| if page.starts_with("..") { "" } else { id });
                        // `./` is the page at `/`, which is known by its targets.
                        let is_here = value.starts_with('#') || value.starts_with("./") && ids.contains("targets");
                        assert!(!is_here || fragment.is_empty() || ids.contains(fragment), "{value} leads nowhere");
                    }
                    "aria-labelledby" | "for" => assert!(ids.contains(value.as_str()), "{value} is not there"),
                    _ => {}
                }
            }
        }
    }

    /// What a screen reader needs.
    fn check_structure(&self) {
        let mut level = 0;
        for element in &self.0 {
            let parents = || element.within.iter().map(|place| self.0[*place].name.as_str());
            match element.name.as_str() {
                name @ ("h1" | "h2" | "h3" | "h4") => {
                    let its = name[1..].parse().unwrap();
                    assert!(its <= level + 1, "{name} \"{}\" follows h{level}", element.text);
                    level = its;
                }
                "table" => {
                    let place = self.0.iter().position(|one| std::ptr::eq(one, element)).unwrap();
                    let is_caption = |one: &Element| one.name == "caption" && one.within.contains(&place);
                    assert!(self.0.iter().any(is_caption), "a table without caption");
                }
                "th" => assert!(!element.get("scope").is_empty(), "th \"{}\" without scope", element.text),
                "svg" => assert!(!element.get("aria-label").is_empty() && element.get("role") == "img"),
                "input" if element.get("type") != "hidden" => assert!(parents().any(|name| name == "label")),
                "select" => assert!(parents().any(|name| name == "label")),
                "a" => assert!(!parents().any(|name| name == "a"), "a link in a link"),
                "div" | "p" | "ul" => assert!(!parents().any(|name| name == "p"), "<{}> in <p>", element.name),
                _ => {}
            }
        }
        for name in ["h1", "main", "header", "footer", "head"] {
            assert_eq!(self.all(name, "").len(), 1, "<{name}>");
        }
    }
}

/// Where a tag ends: a `>` outside of quotes.
fn end_of_tag(tag: &str) -> usize {
    let mut is_quoted = false;
    for (at, c) in tag.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '>' if !is_quoted => return at,
            '<' => assert!(at == 0, "< within {tag:.80}"),
            _ => {}
        }
    }
    panic!("this has no end: {tag:.80}")
}

fn tag_of(inside: &str) -> Element {
    let (name, mut rest) = inside.split_once(' ').unwrap_or((inside, ""));
    assert!(
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
        "<{inside}"
    );
    let mut element = Element { name: name.to_owned(), ..Element::default() };
    while !rest.trim().is_empty() {
        let trimmed = rest.trim_start();
        let end = trimmed.find(['=', ' ']).unwrap_or(trimmed.len());
        let (name, after) = trimmed.split_at(end);
        assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-'), "attribute {name} of <{inside}");
        let value = match after.strip_prefix("=\"") {
            Some(after) => {
                let (value, after) = after.split_once('"').unwrap();
                rest = after;
                decoded(value)
            }
            None => {
                assert!(!after.starts_with('='), "{name} of <{inside} is not quoted");
                rest = after;
                String::new()
            }
        };
        assert!(element.attributes.insert(name.to_owned(), value).is_none(), "{name} is twice in <{inside}");
    }
    element
}

/// Text with its entities read, of which there are five.
fn decoded(text: &str) -> String {
    assert!(!text.contains('>'), "a bare > in {text:.80}");
    let mut out = String::new();
    let mut parts = text.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (entity, after) = part.split_once(';').unwrap_or_else(|| panic!("a bare & before {part:.40}"));
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            other => panic!("&{other};"),
        });
        out.push_str(after);
    }
    assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "a control character in {out:.80}");
    out
}
