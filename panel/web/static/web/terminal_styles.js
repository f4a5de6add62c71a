// xterm.js writes <style> elements and style attributes, which our policy lets no page have. What it makes while this is in
// force has its rules in a style sheet of the script's own, and its attributes set as properties: the policy allows both.

const make = Document.prototype.createElement;

// An element that stands for a style and is none: even an empty one is complained of.
function sheetOf(style) {
  const sheet = new CSSStyleSheet();
  let text = "";
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(style, "textContent", { get: () => text, set: (value) => { text = value; sheet.replaceSync(value); } });
  return style;
}

function attributesOf(element) {
  element.setAttribute = (name, value) => {
    if (name === "style") element.style.cssText = value;
    else Element.prototype.setAttribute.call(element, name, value);
  };
  return element;
}

export function allowTerminalStyles() {
  document.createElement = (name, ...more) => {
    const made = make.call(document, name === "style" ? "template" : name, ...more);
    return name === "style" ? sheetOf(made) : name === "span" ? attributesOf(made) : made;
  };
}
