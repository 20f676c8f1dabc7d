// The page: which feed and price are shown, and what the streams say about them.

import { $, el } from './dom.js';
import { arrow, day, percent, plain, plural, price, relative, sign } from './format.js';
import { get } from './api.js';
import { follow } from './sse.js';
import { Chart } from './chart.js';
import { Alerts } from './alerts.js';
import { Ask, Similar } from './search.js';

const kept = 300; // readings of the chart, as many as the server keeps
const favourites = ['WTI', 'BRENT', 'HENRYHUB'];

const state = {
  series: new Map(), // symbol: what GET /v1/series says
  latest: new Map(), // feed/symbol: the last reading
  feed: undefined, // '' is the sample itself
  follows: true, // the feed that had a price last is shown, until somebody chooses one
  symbol: 'WTI',
  readings: [],
  paused: false,
};

const chart = new Chart($('plot'), (reading) => {
  $('plot-cursor').textContent = reading ? describe(reading) : '';
});

function describe(r) {
  const parts = [`${day(r.time)}: ${price(r.price)} (${percent(relative(r))})`];
  if (r.ema20) parts.push(`EMA ${price(r.ema20)}`);
  if (r.rsi14) parts.push(`RSI ${plain(r.rsi14)}`);
  if (r.volatility) parts.push(`volatility ${plain(100 * r.volatility)} %`);
  if (r.regime !== 'unknown') parts.push(r.regime);
  return parts.join(' · ');
}

// --- What is shown of the chosen price

let due = false;
function render() {
  if (due || state.paused) return;
  due = true;
  requestAnimationFrame(() => { due = false; if (!state.paused) { paintWatch(); paintChart(); } });
}

function paintChart() {
  const series = state.series.get(state.symbol);
  const last = state.readings.at(-1);
  $('chart-title').textContent = state.symbol;
  $('chart-name').textContent = [series?.name, series?.unit, last && `${day(last.time)}`, last?.source].filter(Boolean).join(' · ');
  $('quote-price').textContent = last ? price(last.price) : '';
  const change = last ? relative(last) : 0;
  $('quote-change').textContent = last ? `${arrow(change)} ${percent(change)}` : '';
  $('quote-change').className = sign(change);
  pill($('quote-regime'), last?.regime);
  chart.show({ readings: state.readings, alerts: alerts.of(state.feed, state.symbol) });
  $('plot').setAttribute('aria-label', chart.label(state.symbol, series?.unit));
  const stats = last ? [
    ['EMA 20', last.ema20 ? price(last.ema20) : plain(0)], ['RSI 14', plain(last.rsi14)],
    ['MACD', last.macd ? `${plain(last.macd, 2)} / ${plain(last.macdSignal, 2)}` : plain(0)],
    ['ATR 14', last.atr14 ? price(last.atr14) : plain(0)],
    ['Volatility', last.volatility ? `${plain(100 * last.volatility)} %` : plain(0)], ['of the usual', last.volatilityRatio ? `${plain(last.volatilityRatio, 1)} ×` : plain(0)],
    ['Last change', last.score ? `${plain(Math.abs(last.score), 1)} σ` : plain(0)],
  ] : [];
  $('stats').replaceChildren(...stats.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
  if ($('table-details').open) paintTable();
}

function paintTable() {
  $('table').tBodies[0].replaceChildren(...state.readings.slice(-30).reverse().map((r) => el('tr', {},
    el('th', { scope: 'row' }, day(r.time)),
    el('td', { class: 'num' }, price(r.price)),
    el('td', { class: 'num' }, r.ema20 ? price(r.ema20) : plain(0)),
    el('td', { class: 'num' }, r.bollingerUpper ? `${price(r.bollingerLower)} to ${price(r.bollingerUpper)}` : plain(0)),
    el('td', { class: 'num' }, plain(r.rsi14)),
    el('td', { class: 'num' }, r.volatility ? `${plain(100 * r.volatility)} %` : plain(0)),
    el('td', {}, r.regime))));
}

function pill(node, regime) {
  node.hidden = !regime || regime === 'unknown';
  node.textContent = regime ?? '';
  node.className = `pill ${regime}`;
}

// --- The list of prices

function rank(symbol) {
  const i = favourites.indexOf(symbol);
  return i < 0 ? favourites.length : i;
}

const byRank = (a, b) => rank(a) - rank(b) || (a < b ? -1 : 1);

function symbols() {
  const own = [...state.latest.values()].filter((l) => l.feed === state.feed).map((l) => l.symbol);
  return (state.feed ? own : [...state.series.keys()]).sort(byRank);
}

const rows = new Map(); // symbol: its row, kept so that the focus stays where it is

function paintWatch() {
  const list = symbols();
  for (const symbol of rows.keys()) if (!list.includes(symbol)) rows.delete(symbol);
  $('watch').tBodies[0].append(...list.map((symbol) => {
    let row = rows.get(symbol);
    if (!row) {
      row = {
        button: el('button', { type: 'button', class: 'symbol', onclick: () => choose(state.feed, symbol) }, el('span', {}, symbol), el('small', { title: state.series.get(symbol)?.name }, state.series.get(symbol)?.name ?? '')),
        last: el('td', { class: 'num' }), change: el('td', {}), pill: el('span', { class: 'pill' }),
      };
      row.tr = el('tr', { 'data-symbol': symbol }, el('th', { scope: 'row' }, row.button), row.last, row.change, el('td', {}, row.pill));
      rows.set(symbol, row);
    }
    const l = state.latest.get(`${state.feed}/${symbol}`);
    row.button.setAttribute('aria-pressed', String(symbol === state.symbol));
    row.tr.classList.toggle('chosen', symbol === state.symbol);
    row.last.textContent = l ? price(l.price) : '–';
    row.change.textContent = l ? percent(relative(l)) : '–';
    row.change.className = `num ${l ? sign(relative(l)) : ''}`;
    pill(row.pill, l?.regime);
    // A row that is there already is not moved: that would take the focus from it.
    return row.tr.parentNode ? [] : [row.tr];
  }).flat());
  for (const tr of [...$('watch').tBodies[0].rows]) if (!rows.has(tr.dataset.symbol)) tr.remove();
  const now = [...$('watch').tBodies[0].rows].map((tr) => tr.dataset.symbol);
  if (now.join() !== list.join()) $('watch').tBodies[0].append(...list.map((s) => rows.get(s).tr));
  $('watch-count').textContent = list.length ? plural(list.length, 'price') : '';
}

// short leaves out most of an identifier at the end of a feed's name.
const short = (feed) => feed.replace(/-[0-9A-Z]{22}([0-9A-Z]{4})$/, ' …$1');

function paintFeeds() {
  const feeds = [...new Set([...state.latest.values()].map((l) => l.feed))].sort();
  const select = $('feed');
  const want = ['', ...feeds];
  if (want.join('\n') !== [...select.options].map((o) => o.value).join('\n')) {
    select.replaceChildren(...want.map((f) => el('option', { value: f, title: f }, f ? short(f) : 'History (the sample)')));
  }
  select.value = state.feed ?? '';
}

// --- Choosing

let asked = 0;
async function choose(feed, symbol, until) {
  const changed = feed !== state.feed;
  if (changed) rows.clear(), $('watch').tBodies[0].replaceChildren();
  state.feed = feed;
  if (feed && !state.latest.has(`${feed}/${symbol}`)) symbol = symbols()[0] ?? symbol;
  if (changed || symbol !== state.symbol || until) chart.show({ cursor: undefined });
  state.symbol = symbol;
  if (until !== undefined) $('to').value = until;
  $('until').hidden = feed !== '';
  paintFeeds();
  await load();
}

// load reads the chosen price anew. What is pushed meanwhile is in the answer, or is
// appended after it: a reading is taken once, by its time.
async function load() {
  const mine = ++asked;
  const parameters = { symbol: state.symbol, n: kept };
  if (state.feed) parameters.feed = state.feed;
  else if ($('to').value) parameters.to = $('to').value;
  try {
    const answer = await get('/v1/readings', parameters);
    if (mine !== asked) return;
    state.readings = answer.readings;
  } catch {
    if (mine !== asked) return;
    state.readings = []; // the connection's state says why
  }
  chart.loading = false;
  const last = state.readings.at(-1);
  similar.suggest(state.symbol, last && day(last.time));
  render();
}

// --- Streams

const connections = { prices: ['connecting'], alerts: ['connecting'] };

function connection(which, what, detail) {
  connections[which] = [what, detail];
  const all = Object.values(connections);
  const bad = all.find(([s]) => s === 'refused') ?? all.find(([s]) => s === 'waiting') ?? all.find(([s]) => s === 'connecting') ?? ['open'];
  const text = { open: 'Live', connecting: 'Connecting', waiting: 'Reconnecting', refused: `Stopped: ${bad[1]}` }[bad[0]];
  $('connection').dataset.state = bad[0];
  if ($('connection-text').textContent !== text) $('connection-text').textContent = text;
}

function prices({ type, data }) {
  if (type === 'gap') { load(); return; }
  if (type !== 'latest' && type !== 'prices') return;
  const list = JSON.parse(data);
  for (const l of list) {
    const key = `${l.feed}/${l.symbol}`;
    state.latest.delete(key); // the one that came last stands last
    state.latest.set(key, l);
    const last = state.readings.at(-1);
    if (type === 'prices' && l.feed === state.feed && l.symbol === state.symbol && (!last || l.time > last.time)) {
      state.readings.push(l);
      if (state.readings.length > kept) state.readings.shift();
    }
  }
  const newest = list.at(-1)?.feed;
  if (state.follows && newest !== undefined && newest !== state.feed) choose(newest, state.symbol);
  else if (state.feed === undefined) choose('', state.symbol);
  else if (type === 'latest') load(); // connected again: fill in what was missed
  paintFeeds();
  render();
}

// --- Wiring

$('feed').addEventListener('change', (e) => { state.follows = false; choose(e.target.value, state.symbol); });
$('to').addEventListener('change', () => load());
$('show-ema').addEventListener('change', (e) => { chart.options.ema = e.target.checked; chart.draw(); });
$('show-band').addEventListener('change', (e) => { chart.options.band = e.target.checked; chart.draw(); });
$('pane').addEventListener('change', (e) => { chart.options.pane = e.target.value; chart.draw(); });
$('table-details').addEventListener('toggle', paintTable);
$('pause').addEventListener('click', (e) => {
  state.paused = !state.paused;
  e.currentTarget.setAttribute('aria-pressed', String(state.paused));
  e.currentTarget.textContent = state.paused ? 'Go on' : 'Pause';
  alerts.pause(state.paused);
  render();
});

function theme(dark) {
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  $('theme').setAttribute('aria-pressed', String(dark));
}
const system = matchMedia('(prefers-color-scheme: dark)');
let own = localStorage.getItem('theme');
theme(own ? own === 'dark' : system.matches);
system.addEventListener('change', () => { if (!own) theme(system.matches); });
$('theme').addEventListener('click', () => {
  own = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
  localStorage.setItem('theme', own);
  theme(own === 'dark');
});

const ask = new Ask();
const similar = new Similar((symbol, date, days) => {
  state.follows = false;
  const until = new Date(Date.parse(date) + days * 86_400_000);
  choose('', symbol, until.toISOString().slice(0, 10));
  $('chart-title').focus({ preventScroll: false });
});
const alerts = new Alerts({
  onState: (s, detail) => connection('alerts', s, detail),
  onAlert: (a) => { if (a.feed === state.feed && a.symbol === state.symbol) render(); },
  onChoose: (a) => { state.follows = false; choose(state.latest.has(`${a.feed}/${a.symbol}`) ? a.feed : '', a.symbol); $('chart-title').focus(); },
});

async function start() {
  try {
    const list = await get('/v1/series');
    list.sort((a, b) => byRank(a.symbol, b.symbol));
    state.series = new Map(list.map((s) => [s.symbol, s]));
    similar.offer(list);
    const sources = [...new Set(list.map((s) => s.source))];
    $('sources').textContent = `Prices: ${sources.join('; ')}.`;
    const synthetic = sources.some((s) => s.includes('synthetic'));
    $('provenance').hidden = false;
    $('provenance').textContent = synthetic ? 'Generated data' : 'Observed data';
    $('provenance').classList.toggle('synthetic', synthetic);
  } catch {
    setTimeout(start, 1_000); // the streams say that there is no connection
    return;
  }
  render();
}
start();
follow(() => '/v1/prices', { onEvent: prices, onState: (s, detail) => connection('prices', s, detail) });
const question = new URLSearchParams(location.search).get('q');
if (question) { $('question').value = question; ask.run(); }
