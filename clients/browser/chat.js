// Connects `core.js` to `fetch` and to the storage of a browser.

import '../core.js';

const storage = {
  get: (key) => JSON.parse(localStorage.getItem(key)),
  set: (key, value) => localStorage.setItem(key, JSON.stringify(value)),
  remove: (key) => localStorage.removeItem(key),
};

/**
 * Needs `baseUrl` and `token()`. `baseUrl` is the address of Parlor. An empty one means the page's
 * own origin. `token()` returns the current JWT.
 */
export function createChat({ fetch = globalThis.fetch.bind(globalThis), ...options }) {
  const request = (what, { onText, onEnd }) => {
    const controller = new AbortController();
    read(fetch, what, controller.signal, onText).then(onEnd, () => onEnd(null));
    return () => controller.abort();
  };
  // `core.js` has no `export`. It sets this global.
  return globalThis.parlorCore.createChat({ request, storage, ...options });
}

async function read(fetch, { url, method, headers, body }, signal, onText) {
  const json = body && JSON.stringify(body);
  const response = await fetch(url, { method, headers, body: json, signal });
  const end = { status: response.status, retryAfter: response.headers.get('retry-after') };
  if (!response.body) return end; // Status 204.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return end;
    onText(decoder.decode(value, { stream: true }));
  }
}
