// Questions to the API. An error has the server's message and the field it is about.

import { headers, needed } from './key.js';

export class Problem extends Error {
  constructor(status, error) {
    super([error?.field, error?.message].filter(Boolean).join(' ') || `the server answered ${status}`);
    this.status = status;
    this.field = error?.field;
  }
}

// get asks and returns the decoded answer. A question that another one of the same
// purpose has overtaken rejects with an AbortError.
const underway = new Map();

export async function get(path, parameters, purpose) {
  underway.get(purpose)?.abort();
  const controller = new AbortController();
  if (purpose) underway.set(purpose, controller);
  const query = new URLSearchParams(parameters);
  const ask = () => fetch(query.size ? `${path}?${query}` : path, { signal: controller.signal, headers: { Accept: 'application/json', ...headers() } });
  let response = await ask();
  while (response.status === 401) {
    await needed();
    response = await ask();
  }
  const body = await response.json().catch(() => undefined);
  if (!response.ok) throw new Problem(response.status, body?.error);
  if (body === undefined) throw new Problem(response.status);
  return body;
}
