// A strip shows changes as dots on one line around zero, with their range and median.

import { svg } from './dom.js';
import { percent } from './format.js';

export function strip(changes, summary, bound) {
  const width = 260, height = 30, middle = 14;
  const x = (v) => 8 + ((Math.max(-bound, Math.min(bound, v)) + bound) / (2 * bound)) * (width - 16);
  return svg('svg', { class: 'strip', viewBox: `0 0 ${width} ${height}`, role: 'img',
    'aria-label': `median ${percent(summary.median)}, from ${percent(summary.low)} to ${percent(summary.high)}` },
    svg('line', { class: 'axis', x1: 8, x2: width - 8, y1: middle, y2: middle }),
    svg('line', { class: 'zero', x1: x(0), x2: x(0), y1: 3, y2: height - 5 }),
    svg('line', { class: 'range', x1: x(summary.low), x2: x(summary.high), y1: middle, y2: middle }),
    changes.map((c) => svg('circle', { class: c > 0 ? 'up' : c < 0 ? 'down' : 'flat', cx: x(c), cy: middle, r: 4 })),
    svg('path', { class: 'median', d: `M${x(summary.median)} ${middle - 9}v18` }));
}

// bound returns the half width of an axis that several strips share.
export const bound = (summaries) => Math.max(0.05, ...summaries.flatMap((s) => [Math.abs(s.low), Math.abs(s.high)])) * 1.05;
