// What a network may do to a stream: cut it anywhere, break it anywhere, keep silent.

/** Chunks as they come. */
export const whole = (bytes) => [bytes];

/** A chunk for each byte. */
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
 * A network that a stand-in asks what to do. `trouble(n)` says what befalls the n-th streamed request, from 0: `{ at: bytes }` breaks
 * it after so many bytes of its body, `{ at: -1 }` when the head would come, `{ early: true }` as soon as it is sent, `{ stall: bytes }`
 * keeps silent from there on, `{ answer: { status, headers, body } }` answers in the server's place, and `{ atOnce: true }` is a phone
 * that knows no chunks.
 */
export function createNetwork({ cut = whole, trouble = () => undefined } = {}) {
  const network = { requests: [], bytes: [], busy: 0 };
  /** Requests, but for those that the product, on a machine that is busy with other things, asked patience for. */
  network.served = () => network.requests.length - network.busy;
  network.answered = (status) => {
    if (status === 503) network.busy += 1;
  };
  network.begin = (request) => {
    const n = network.requests.push(request) - 1;
    network.bytes[n] = 0;
    return { n, ...trouble(n, request) };
  };
  /** The chunks to hand on of these bytes, and whether the connection breaks or falls silent after them. */
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
