// The two questions about the past: texts like a question, and dates like a date.

import { $, el } from './dom.js';
import { day, percent, plural, price, sign } from './format.js';
import { get } from './api.js';
import { bound, strip } from './strip.js';

function summaryTable(summaries, days, changesOf, what) {
  const half = bound(summaries);
  return el('table', { class: 'summary' },
    el('caption', {}, `What prices did in the ${days} days after`),
    el('thead', {}, el('tr', {}, ['Price', 'Median', 'Range', `Higher after`, 'Each of them'].map((h, i) => el('th', { scope: 'col', class: i > 0 && i < 4 ? 'num' : undefined }, h)))),
    el('tbody', {}, summaries.map((s) => el('tr', {},
      el('th', { scope: 'row' }, s.symbol),
      el('td', { class: `num ${sign(s.median)}` }, percent(s.median)),
      el('td', { class: 'num' }, `${percent(s.low)} to ${percent(s.high)}`),
      el('td', { class: 'num' }, `${s.rose} of ${plural(s.n, what)}`),
      el('td', {}, strip(changesOf(s.symbol), s, half))))));
}

// marked returns a text with the words of a question marked in it, by their beginnings.
function marked(text, question) {
  const stems = [...new Set((question.toLowerCase().match(/[a-z]{4,}/g) ?? []).map((w) => w.slice(0, Math.max(4, w.length - 3))))];
  if (stems.length === 0) return [text];
  const words = new RegExp(`\\b(?:${stems.join('|')})[a-z]*`, 'gi');
  const out = [];
  let at = 0;
  for (const m of text.matchAll(words)) {
    out.push(text.slice(at, m.index), el('mark', {}, m[0]));
    at = m.index + m[0].length;
  }
  return [...out, text.slice(at)];
}

const failed = (error, status) => {
  if (error.name === 'AbortError') return; // a newer question
  status.classList.add('wrong');
  status.textContent = error.status ? `That did not work: ${error.message}.` : 'The server cannot be reached. Try again when the connection is back.';
};

// Ask is the search in the texts.
export class Ask {
  constructor() {
    $('ask').addEventListener('submit', (e) => { e.preventDefault(); this.run(); });
    $('days').addEventListener('change', () => { if ($('answer').childElementCount) this.run(); });
    $('question').addEventListener('keydown', (e) => { if (e.key === 'Escape') this.clear(); });
    for (const button of document.querySelectorAll('.tries button')) {
      button.addEventListener('click', () => { $('question').value = button.textContent; this.run(); });
    }
  }

  clear() {
    $('question').value = '';
    $('answer').replaceChildren();
    $('ask-status').textContent = '';
  }

  async run() {
    const question = $('question').value.trim(), status = $('ask-status');
    status.classList.remove('wrong');
    if (!question) {
      status.textContent = 'Type what the texts should be about.';
      $('question').focus();
      return;
    }
    status.textContent = 'Searching…';
    try {
      const answer = await get('/v1/ask', { q: question, k: 8, days: $('days').value }, 'ask');
      $('answer').replaceChildren(...this.answer(answer));
      const months = new Set(answer.passages.map((p) => p.date));
      status.textContent = answer.passages.length
        ? `${plural(answer.passages.length, 'passage')} of ${plural(months.size, 'date')}, the most similar first.`
        : 'No passage is like it. Try other words.';
    } catch (error) {
      failed(error, status);
    }
  }

  answer(a) {
    const out = [];
    // Of one month several passages can be found; what came after it counts once.
    const changes = (symbol) => [...new Map(a.passages.flatMap((p) => p.moves.filter((m) => m.symbol === symbol).map((m) => [m.from.Date, m.change]))).values()];
    if (a.summary.length) {
      out.push(summaryTable(a.summary, a.days, changes, 'date'),
        el('p', { class: 'note' }, el('strong', {}, 'Not a prediction. '), 'These are the dates that were found, counted once each, and no others. Of a text only the month is known; the days after it begin at its end.'));
    }
    if (a.passages.length) {
      out.push(el('ol', { class: 'passages' }, a.passages.map((p) => el('li', {},
        el('article', {},
          el('h3', {}, p.title),
          el('p', { class: 'text' }, marked(p.text, a.question)),
          el('ul', { class: 'moves', 'aria-label': `Prices in the ${a.days} days after` }, p.moves.map((m) => el('li', { title: `${price(m.from.Close)} on ${day(m.from.Date)}, ${price(m.to.Close)} on ${day(m.to.Date)} (${m.unit})` },
            m.symbol, ' ', el('span', { class: sign(m.change) }, percent(m.change))))),
          el('p', { class: 'muted small' }, `${p.source}, ${p.date.slice(0, 7)}`))))));
    }
    if (a.filings.length) {
      out.push(el('details', { class: 'filings' }, el('summary', {}, `${plural(a.filings.length, 'filing')} with a word of the question in the company or form`),
        el('ul', {}, a.filings.map((f) => el('li', {}, el('time', { datetime: day(f.date) }, day(f.date)), ' ', f.title, el('span', { class: 'muted small' }, ` ${f.source}`))))));
    }
    return out;
  }
}

// Similar compares dates.
export class Similar {
  constructor(onEpisode) {
    this.onEpisode = onEpisode;
    $('similar').addEventListener('submit', (e) => { e.preventDefault(); this.run(); });
  }

  offer(series) {
    this.series = new Map(series.map((s) => [s.symbol, s]));
    const select = $('similar-symbol');
    select.replaceChildren(...series.map((s) => el('option', { value: s.symbol }, s.symbol)));
    const last = () => {
      const s = this.series.get(select.value);
      if (!s) return;
      $('similar-at').min = day(s.first);
      $('similar-at').max = day(s.last);
      if (!$('similar-at').value || $('similar-at').value > day(s.last)) $('similar-at').value = day(s.last);
    };
    select.addEventListener('change', last);
    last();
  }

  // suggest puts a price and a date into the form.
  suggest(symbol, date) {
    if (!this.series?.has(symbol)) return;
    $('similar-symbol').value = symbol;
    if (date) $('similar-at').value = date;
  }

  async run() {
    const status = $('similar-status');
    status.classList.remove('wrong');
    if (!$('similar-symbol').value) {
      status.textContent = 'The prices are still being loaded.';
      return;
    }
    status.textContent = 'Comparing…';
    try {
      const a = await get('/v1/similar', { symbol: $('similar-symbol').value, at: $('similar-at').value, k: 10, days: $('days').value }, 'similar');
      $('likeness').replaceChildren(...this.likeness(a));
      status.textContent = `${plural(a.episodes.length, 'episode')} before ${day(a.at)}; nothing later was used.`;
    } catch (error) {
      failed(error, status);
    }
  }

  likeness(a) {
    const changes = a.episodes.filter((e) => e.after).map((e) => e.after.change);
    const out = [];
    if (a.n > 0) {
      const stat = (name, value, kind) => el('div', {}, el('dt', {}, name), el('dd', { class: kind }, value));
      out.push(el('h3', {}, `What ${a.symbol} did in the ${a.days} days after`),
        el('dl', { class: 'stats' }, stat('Median', percent(a.median), sign(a.median)), stat('Range', `${percent(a.low)} to ${percent(a.high)}`), stat('Higher after', `${a.rose} of ${plural(a.n, 'episode')}`)),
        strip(changes, a, bound([a])),
        el('p', { class: 'note' }, el('strong', {}, 'Not a prediction. '), `${plural(a.n, 'episode')}; what happened after each, once.`));
    }
    out.push(el('table', { class: 'episodes' },
      el('caption', { class: 'hidden' }, `Dates on which ${a.symbol} behaved as on ${day(a.at)}`),
      el('thead', {}, el('tr', {}, ['Date', 'Distance', `${a.days} days after`].map((h, i) => el('th', { scope: 'col', class: i ? 'num' : undefined }, h)))),
      el('tbody', {}, a.episodes.map((e) => el('tr', {},
        el('th', { scope: 'row' }, el('button', { type: 'button', class: 'link', 'aria-label': `Show ${a.symbol} around ${day(e.date)} in the chart`, onclick: () => this.onEpisode(a.symbol, e.date, a.days) }, day(e.date))),
        el('td', { class: 'num' }, e.distance.toFixed(2)),
        el('td', { class: `num ${sign(e.after?.change)}` }, e.after ? percent(e.after.change) : 'not over'))))));
    const correlations = Object.entries(a.correlations).sort();
    if (correlations.length) {
      out.push(el('p', { class: 'muted small' }, 'Correlation over the last 60 common days: ', correlations.map(([s, c]) => `${s} ${c.toFixed(2)}`).join(', ')));
    }
    out.push(el('p', { class: 'muted small' }, `Prices: ${a.source}`));
    return out;
  }
}
