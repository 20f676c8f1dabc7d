// Numbers and dates as they are shown everywhere.

const none = '–';

export const day = (text) => (text ? text.slice(0, 10) : none);

export function price(x) {
  if (x === undefined || x === null) return none;
  const digits = Math.abs(x) >= 1000 ? 0 : Math.abs(x) >= 1 ? 2 : 4;
  return x.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// percent writes a share with its sign; the real minus, which is as wide as a plus.
export function percent(share, digits = 1) {
  if (!Number.isFinite(share)) return none;
  const text = (100 * Math.abs(share)).toFixed(digits);
  const sign = Number(text) === 0 ? '±' : share > 0 ? '+' : '−';
  return `${sign}${text} %`;
}

export const plain = (x, digits = 0) => (Number.isFinite(x) && x !== 0 ? x.toFixed(digits) : none);

// relative is the change from the price before as a share. The API gives a logarithm,
// but for prices that were negative (see docs).
export function relative(reading) {
  return reading.price > 0 ? Math.exp(reading.change) - 1 : reading.change;
}

export const sign = (x) => (x > 0 ? 'up' : x < 0 ? 'down' : 'flat');
export const arrow = (x) => (x > 0 ? '▲' : x < 0 ? '▼' : '■');

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString('en-US')} ${n === 1 ? one : many}`;
