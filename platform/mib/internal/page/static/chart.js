// The chart: a price with its average and band, what regime it was in, alerts, and
// one indicator below. Drawn as SVG, so that colours follow the page's theme.

import { svg } from './dom.js';
import { day, percent, price, relative } from './format.js';

const margin = { left: 8, right: 62, top: 10, bottom: 22 };
const lower = 84; // height of the pane below
const gap = 14;

export class Chart {
  // changed is called with the reading under the cursor, or undefined without one.
  constructor(container, changed) {
    this.container = container;
    this.changed = changed;
    this.readings = [];
    this.alerts = [];
    this.loading = true;
    this.options = { ema: true, band: true, pane: 'rsi' };
    this.cursor = undefined; // an index
    this.due = false;
    new ResizeObserver(() => this.draw()).observe(container);
    container.addEventListener('pointermove', (e) => this.point(e));
    container.addEventListener('pointerleave', () => this.move(undefined));
    container.addEventListener('blur', () => this.move(undefined));
    container.addEventListener('keydown', (e) => this.key(e));
  }

  show(what) {
    Object.assign(this, what);
    if (this.cursor !== undefined && this.cursor >= this.readings.length) this.cursor = undefined;
    this.draw();
  }

  // draw draws at the next frame, however often it is asked to before.
  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => { this.due = false; this.paint(); });
  }

  key(e) {
    const last = this.readings.length - 1;
    if (last < 0) return;
    const at = this.cursor ?? last + 1;
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 20, PageDown: at + 20, Home: 0, End: last };
    if (e.key === 'Escape') this.move(undefined);
    else if (e.key in steps) this.move(Math.max(0, Math.min(last, steps[e.key])));
    else return;
    e.preventDefault();
  }

  point(e) {
    if (!this.x || this.readings.length === 0) return;
    const t = this.x.invert(e.clientX - this.container.getBoundingClientRect().left);
    let low = 0, high = this.readings.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < t) low = middle + 1; else high = middle;
    }
    this.move(low > 0 && t - this.times[low - 1] < this.times[low] - t ? low - 1 : low);
  }

  move(index) {
    if (index === this.cursor) return;
    this.cursor = index;
    this.changed(index === undefined ? undefined : this.readings[index]);
    this.drawCursor();
  }

  paint() {
    const width = this.container.clientWidth, height = this.container.clientHeight;
    if (width === 0) return;
    const readings = this.readings;
    const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true', focusable: 'false' });
    this.container.replaceChildren(root);
    this.x = undefined;
    if (readings.length < 2) {
      root.append(svg('text', { x: width / 2, y: height / 2, class: 'nothing', 'text-anchor': 'middle' }, this.loading ? 'Loading' : 'No prices yet'));
      return;
    }
    this.times = readings.map((r) => Date.parse(r.time));
    const right = width - margin.right;
    const bottom = height - margin.bottom - lower - gap;
    const x = this.x = scale(this.times[0], this.times.at(-1), margin.left, right);
    const values = readings.flatMap((r) => [r.price, this.options.band && r.bollingerUpper, this.options.band && r.bollingerLower].filter((v) => v));
    const y = this.y = padded(values, bottom, margin.top);
    const pane = this.pane = this.below(height - margin.bottom, height - margin.bottom - lower);

    // Regimes lie behind everything, over both panes.
    for (let i = 0; i < readings.length;) {
      let j = i + 1;
      while (j < readings.length && readings[j].regime === readings[i].regime) j++;
      if (readings[i].regime === 'stressed' || readings[i].regime === 'calm') {
        const from = x(this.times[i]), to = x(this.times[Math.min(j, readings.length - 1)]);
        root.append(svg('rect', { class: `regime ${readings[i].regime}`, x: from, y: margin.top, width: Math.max(1, to - from), height: height - margin.top - margin.bottom }));
      }
      i = j;
    }
    for (const v of ticks(y.low, y.high, 5)) {
      root.append(svg('line', { class: 'grid', x1: margin.left, x2: right, y1: y(v), y2: y(v) }),
        svg('text', { class: 'tick', x: right + 6, y: y(v) + 4 }, price(v)));
    }
    for (const v of pane.ticks) {
      root.append(svg('line', { class: 'grid', x1: margin.left, x2: right, y1: pane.y(v), y2: pane.y(v) }),
        svg('text', { class: 'tick', x: right + 6, y: pane.y(v) + 4 }, pane.label(v)));
    }
    for (const [t, text] of dates(this.times[0], this.times.at(-1), Math.max(2, Math.floor(width / 110)))) {
      root.append(svg('line', { class: 'grid', x1: x(t), x2: x(t), y1: margin.top, y2: height - margin.bottom }),
        svg('text', { class: 'tick', x: x(t), y: height - 6, 'text-anchor': 'middle' }, text));
    }
    root.append(svg('text', { class: 'pane', x: margin.left + 4, y: height - margin.bottom - lower + 12 }, pane.name));

    if (this.options.band) {
      const known = readings.map((r, i) => [r, this.times[i]]).filter(([r]) => r.bollingerUpper || r.bollingerLower);
      if (known.length > 1) {
        const up = known.map(([r, t]) => `${x(t).toFixed(1)},${y(r.bollingerUpper).toFixed(1)}`);
        const down = known.map(([r, t]) => `${x(t).toFixed(1)},${y(r.bollingerLower).toFixed(1)}`).reverse();
        root.append(svg('polygon', { class: 'band', points: [...up, ...down].join(' ') }));
      }
    }
    if (this.options.ema) root.append(svg('path', { class: 'line ema', d: line(readings, this.times, (r) => r.ema20 || undefined, x, y) }));
    root.append(svg('path', { class: 'line price', d: line(readings, this.times, (r) => r.price, x, y) }));
    for (const l of pane.lines) root.append(svg('path', { class: `line ${l.name}`, d: line(readings, this.times, l.of, x, pane.y) }));

    const byTime = new Map(this.times.map((t, i) => [t, i]));
    for (const a of this.alerts) {
      const i = byTime.get(Date.parse(a.time));
      if (i === undefined) continue;
      const px = x(this.times[i]), py = y(readings[i].price);
      root.append(svg('path', { class: `mark ${a.kind}`, d: `M${px} ${py - 7}l-5 -9h10z` }, svg('title', {}, a.message)));
    }
    const last = readings.at(-1), ly = y(last.price);
    root.append(svg('circle', { class: 'last', cx: x(this.times.at(-1)), cy: ly, r: 3.5 }),
      svg('rect', { class: 'flag', x: right + 2, y: ly - 9, width: margin.right - 4, height: 18, rx: 4 }),
      svg('text', { class: 'flagtext', x: right + 6, y: ly + 4 }, price(last.price)));
    this.overlay = svg('g', {});
    this.height = height;
    root.append(this.overlay);
    this.drawCursor();
  }

  // below returns the pane of the chosen indicator.
  below(bottom, top) {
    const of = { rsi: (r) => r.rsi14 || undefined, volatility: (r) => r.volatility || undefined, macd: (r) => r.macd || undefined };
    switch (this.options.pane) {
      case 'volatility': {
        const y = padded([0, ...this.readings.map(of.volatility).filter((v) => v !== undefined)], bottom, top);
        return { name: 'Volatility of 20 changes, a year', y, ticks: ticks(y.low, y.high, 3), label: (v) => `${Math.round(100 * v)} %`, lines: [{ name: 'volatility', of: of.volatility }] };
      }
      case 'macd': {
        const signal = (r) => r.macdSignal || undefined;
        const y = padded([0, ...this.readings.flatMap((r) => [r.macd, r.macdSignal])], bottom, top);
        return { name: 'MACD 12, 26 and its signal 9', y, ticks: ticks(y.low, y.high, 3), label: (v) => String(Number(v.toPrecision(2))), lines: [{ name: 'macd', of: of.macd }, { name: 'signal', of: signal }] };
      }
      default:
        return { name: 'RSI 14', y: scale(0, 100, bottom, top), ticks: [30, 70], label: String, lines: [{ name: 'rsi', of: of.rsi }] };
    }
  }

  drawCursor() {
    this.overlay?.replaceChildren();
    if (this.cursor === undefined || !this.x || !this.overlay) return;
    const px = this.x(this.times[this.cursor]);
    this.overlay.append(svg('line', { class: 'crosshair', x1: px, x2: px, y1: margin.top, y2: this.height - margin.bottom }),
      svg('circle', { class: 'here', cx: px, cy: this.y(this.readings[this.cursor].price), r: 4 }));
  }

  // label says in words what the chart shows.
  label(symbol, unit) {
    const n = this.readings.length;
    if (n === 0) return `Chart of ${symbol}: no prices yet`;
    const first = this.readings[0], last = this.readings[n - 1];
    const prices = this.readings.map((r) => r.price);
    return `Chart of ${symbol}${unit ? ` in ${unit}` : ''}: ${n} prices from ${day(first.time)} to ${day(last.time)}, from ${price(first.price)} to ${price(last.price)}, ` +
      `low ${price(Math.min(...prices))}, high ${price(Math.max(...prices))}; last change ${percent(relative(last))}, regime ${last.regime}`;
  }
}

// scale maps [low, high] to [from, to], which may run downwards.
function scale(low, high, from, to) {
  const span = high - low || 1;
  const f = (v) => from + ((v - low) / span) * (to - from);
  return Object.assign(f, { low, high, invert: (p) => low + ((p - from) / (to - from)) * span });
}

function padded(values, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  if (low !== 0) low -= pad;
  return scale(low, high + pad, from, to);
}

function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? power;
  const out = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) out.push(i * step);
  return out;
}

// dates returns round dates with their labels.
function dates(from, to, about) {
  const months = (to - from) / (30.44 * 86_400_000);
  const step = [1, 2, 3, 6, 12, 24, 60, 120].find((s) => months / s <= about) ?? 240;
  const out = [];
  const d = new Date(from);
  d.setUTCDate(1); d.setUTCHours(0, 0, 0, 0);
  d.setUTCMonth(Math.ceil(d.getUTCMonth() / step) * step % 12 + (step > 12 ? 12 : 0));
  for (; d.getTime() <= to; d.setUTCMonth(d.getUTCMonth() + step)) {
    if (d.getTime() < from) continue;
    const text = d.getUTCMonth() === 0 || step >= 12 ? String(d.getUTCFullYear()) : d.toLocaleString('en-US', { month: 'short', timeZone: 'UTC' });
    out.push([d.getTime(), text]);
  }
  return out;
}

// line makes a path of what is known.
function line(readings, times, of, x, y) {
  let d = '', open = false;
  readings.forEach((r, i) => {
    const v = of(r);
    if (v === undefined) { open = false; return; }
    d += `${open ? 'L' : 'M'}${x(times[i]).toFixed(1)} ${y(v).toFixed(1)}`;
    open = true;
  });
  return d;
}
