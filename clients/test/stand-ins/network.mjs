// A bad network: it cuts a stream into chunks anywhere, breaks it anywhere, or stalls.

/** Chunks as received. */
export const whole = (bytes) => [bytes];

/** One chunk per byte. */
export const byteByByte = (bytes) => Array.from(bytes, (_, i) => bytes.slice(i, i + 1));

/** Chunks of any length, some empty. */
export function atRandom(bytes) {
  const chunks = [];
  for (let from = 0; from < bytes.length; ) {
    const to = from + Math.floor(Math.random() * 9);
    chunks.push(bytes.slice(from, to));
    from = to;
  }
  return chunks;
}

/**
 * Returns the plan of a network; the stand-ins carry it out. `trouble(n)` returns what happens to
 * the n-th streamed request, counted from 0:
 *
 * - `{ at: bytes }`: it breaks after this many bytes of the response body.
 * - `{ at: -1 }`: it breaks before the response head.
 * - `{ early: true }`: it breaks as soon as the request is sent.
 * - `{ stall: bytes }`: nothing arrives after this many bytes.
 * - `{ answer: { status, headers, body } }`: this response replaces the server's.
 * - `{ atOnce: true }`: the phone does not support chunks.
 */
export function createNetwork({ cut = whole, trouble = () => undefined } = {}) {
  const network = { requests: [], bytes: [], busy: 0 };
  /**
   * The number of requests, without those that a busy machine refused: with 503, or with 429
   * because it has not noticed yet that an earlier reader is gone.
   */
  network.served = () => network.requests.length - network.busy;
  network.answered = (status) => {
    if (status === 503 || status === 429) network.busy += 1;
  };
  network.begin = (request) => {
    const n = network.requests.push(request) - 1;
    network.bytes[n] = 0;
    return { n, ...trouble(n, request) };
  };
  /** Returns the chunks to deliver, and whether the connection breaks or stalls after them. */
  network.pass = (plan, bytes) => {
    const seen = network.bytes[plan.n];
    const limit = plan.at ?? plan.stall ?? Infinity;
    const left = Math.max(0, limit - seen);
    const passed = bytes.slice(0, left);
    network.bytes[plan.n] += passed.length;
    const over = seen + bytes.length >= limit;
    return { chunks: cut(passed), broken: over && plan.at !== undefined, silent: over && plan.stall !== undefined };
  };
  return network;
}
