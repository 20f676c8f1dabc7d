// The API key, for servers that want one. It is kept for as long as the tab is open, and
// sent to the page's own server only.

import { $ } from './dom.js';

let key = sessionStorage.getItem('key') ?? '';
let waiting = [];

export const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

// needed shows the form, and resolves when a key was given.
export function needed() {
  $('key-form').hidden = false;
  $('key-wrong').hidden = !key;
  return new Promise((resolve) => waiting.push(resolve));
}

$('key-form').addEventListener('submit', (e) => {
  e.preventDefault();
  key = $('key').value.trim();
  if (!key) return;
  sessionStorage.setItem('key', key);
  $('key').value = '';
  $('key-form').hidden = true;
  const resolved = waiting;
  waiting = [];
  for (const resolve of resolved) resolve();
});
