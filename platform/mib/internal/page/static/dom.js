// Elements are made of text and never of markup, which the page's policy enforces.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((c) => c !== undefined && c !== null));
  return node;
}

// el makes an HTML element: el('p', {class: 'x'}, 'text', other).
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

// svg makes an SVG element.
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
