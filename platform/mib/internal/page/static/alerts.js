// The list of alerts: each once, the newest first.

import { $, el } from './dom.js';
import { day, plural } from './format.js';
import { follow } from './sse.js';

const kept = 500; // in the page; the server keeps more
const shown = 120;
const speak = 4_000; // ms between two announcements: a screen reader is no ticker

export class Alerts {
  constructor({ onState, onAlert, onChoose }) {
    this.list = [];
    this.ids = new Set();
    this.last = -1; // the highest number that came
    this.kinds = new Set(['anomaly', 'regime', 'mover']);
    this.paused = false;
    this.unsaid = [];
    this.fresh = false; // whether what comes is news, not what was there before
    this.onAlert = onAlert;
    this.onChoose = onChoose;
    for (const chip of document.querySelectorAll('.chip')) {
      chip.addEventListener('click', () => {
        const on = chip.getAttribute('aria-pressed') !== 'true';
        chip.setAttribute('aria-pressed', String(on));
        this.kinds[on ? 'add' : 'delete'](chip.dataset.kind);
        this.render();
      });
    }
    this.stream = follow((resumed) => (resumed ? '/v1/alerts' : `/v1/alerts?recent=${shown}`), {
      onEvent: (e) => this.take(e),
      onState: (state, detail) => {
        if (state === 'open') setTimeout(() => { this.fresh = true; }, 1_000);
        onState(state, detail);
      },
    });
    setInterval(() => this.say(), speak);
  }

  take({ type, data, id }) {
    if (type === 'gap') {
      const note = $('alerts-gap');
      note.hidden = false;
      note.textContent = 'Some older alerts are not kept by the server any more, and are missing here.';
      return;
    }
    const number = Number(id);
    if (type !== 'alert' || !(number > this.last)) return;
    this.last = number;
    const alert = JSON.parse(data);
    if (this.ids.has(alert.id)) return;
    this.ids.add(alert.id);
    this.list.push({ ...alert, number });
    if (this.list.length > kept) this.ids.delete(this.list.shift().id);
    if (this.fresh) this.unsaid.push(alert);
    this.onAlert(alert);
    this.render();
  }

  of(feed, symbol) {
    return this.list.filter((a) => a.feed === feed && a.symbol === symbol);
  }

  say() {
    if (this.paused || this.unsaid.length === 0) return;
    const last = this.unsaid.at(-1);
    $('alerts-said').textContent = this.unsaid.length === 1 ? `Alert: ${last.message}` : `${this.unsaid.length} alerts; the last one: ${last.message}`;
    this.unsaid = [];
  }

  pause(on) {
    this.paused = on;
    if (!on) this.render();
  }

  // render draws at the next frame, however many alerts come before it.
  render() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => { this.due = false; if (!this.paused) this.paint(); });
  }

  paint() {
    const chosen = this.list.filter((a) => this.kinds.has(a.kind)).slice(-shown).reverse();
    const items = $('alerts'), ids = new Set(chosen.map((a) => a.id));
    // What is there already stays where it is: moved elements lose the focus.
    for (const li of [...items.children]) if (!ids.has(li.dataset.id)) li.remove();
    let next = items.firstElementChild;
    for (const a of chosen) {
      if (next?.dataset.id === a.id) next = next.nextElementSibling;
      else items.insertBefore(this.item(a), next);
    }
    $('alerts-empty').hidden = chosen.length > 0;
    $('alerts-count').textContent = this.list.length ? plural(this.list.length, 'alert') : '';
  }

  item(a) {
    return el('li', { class: `alert ${a.kind}${this.fresh ? ' new' : ''}`, 'data-id': a.id, 'data-number': a.number },
      el('p', { class: 'what' },
        el('span', { class: `kind ${a.kind}` }, a.kind),
        el('button', { type: 'button', class: 'link', onclick: () => this.onChoose(a), 'aria-label': `Show ${a.symbol} in the chart` }, a.symbol),
        el('time', { datetime: day(a.time) }, day(a.time))),
      el('p', {}, a.message),
      el('p', { class: 'muted small' }, a.source));
  }
}
