// Server-sent events, read by fetch. EventSource would do for the happy case, but it
// gives up on an answer like 502, does not show comments (which are this server's
// sign of life), and does not say when it will try again.

import { headers as keyHeaders, needed } from './key.js';

const quiet = 40_000; // ms without a byte, after which a connection counts as dead; the server says something every 15 s
const longest = 10_000; // ms between two tries

// parser returns a function that takes pieces of a stream and calls emit with each
// event that has come whole: half an event was none.
export function parser(emit, retry) {
  let rest = '';
  let event = { type: 'message', data: [], id: undefined };
  return (piece) => {
    rest += piece;
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (event.data.length) emit({ type: event.type, data: event.data.join('\n'), id: event.id });
        event = { type: 'message', data: [], id: undefined };
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event.type = value;
      else if (field === 'data') event.data.push(value);
      else if (field === 'id') event.id = value;
      else if (field === 'retry' && /^\d{1,5}$/.test(value)) retry?.(Number(value));
    }
  };
}

// follow reads a stream until stop is called, and takes it up again after the last
// event that was handled. url is a function of whether something was handled before;
// onEvent gets {type, data, id}; onState gets 'open', 'waiting' with the milliseconds,
// or 'refused' with a message, after which nothing more is tried.
export function follow(url, { onEvent, onState }) {
  let lastId;
  let attempts = 0;
  let advised; // the server's wish, in ms
  let stopped = false;
  let current = new AbortController();
  let wake = () => {};

  async function once() {
    current = new AbortController();
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => current.abort(), quiet);
    };
    try {
      alive();
      const headers = { Accept: 'text/event-stream', ...keyHeaders() };
      if (lastId !== undefined) headers['Last-Event-ID'] = lastId;
      const response = await fetch(url(lastId !== undefined), { headers, signal: current.signal, cache: 'no-store' });
      if (response.status === 401) {
        clearTimeout(timer);
        onState('refused', 'an API key is needed');
        await needed();
        advised = 0;
        return;
      }
      if (response.status >= 400 && response.status < 500 && response.status !== 429 && response.status !== 408) {
        stopped = true;
        onState('refused', `the server answered ${response.status}`);
        return;
      }
      if (!response.ok || !response.body) return;
      attempts = 0;
      onState('open');
      const take = parser((event) => {
        onEvent(event);
        if (event.id !== undefined) lastId = event.id;
      }, (ms) => { advised = ms; });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        take(value);
      }
    } catch {
      // The connection was cut or could not be made: the loop tries again.
    } finally {
      clearTimeout(timer);
      current.abort(); // nothing of it is read any more
    }
  }

  async function loop() {
    while (!stopped) {
      await once();
      if (stopped) return;
      const wait = advised ?? Math.min(250 * 2 ** attempts, longest) * (0.75 + Math.random() / 2);
      advised = undefined;
      attempts++;
      onState('waiting', wait);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        wake = () => { clearTimeout(timer); resolve(); };
      });
    }
  }
  const now = () => { attempts = 0; wake(); };
  window.addEventListener('online', now);
  loop();
  return {
    stop() {
      stopped = true;
      window.removeEventListener('online', now);
      current.abort();
      wake();
    },
  };
}
