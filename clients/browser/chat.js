// A chat with Parlor from a browser, on fetch. The interface is that of the mini-program's.

import { createParser } from './sse.js';

const PATH = '/api/xcx/chat';

const DEFAULTS = {
  silenceMs: 25000, // The server pings every 10 s, so this much silence is a lost connection.
  backoffMs: 500, // The first pause; each is twice the one before it, up to the longest.
  mostBackoffMs: 10000,
  mostAttempts: 8, // Without a new piece of text between them.
  mostWaitMs: 30000, // Whoever is told to come back later than that tells the user instead.
  keepMs: 600000, // A message that is older than that is not repeated.
  fetch: (...request) => globalThis.fetch(...request),
  storage: {
    get: (key) => JSON.parse(localStorage.getItem(key)),
    set: (key, value) => localStorage.setItem(key, JSON.stringify(value)),
    remove: (key) => localStorage.removeItem(key),
  },
};

const LOST = { code: 'lost', detail: '连接中断，请稍后再试', retryable: true };
const RETRYABLE = [408, 429, 500, 502, 503, 504];

/** `baseUrl` is where Parlor is, '' for the page's own origin; `token()` answers the JWT of the moment. */
export function createChat(options) {
  const { baseUrl, token, fetch, storage, ...limits } = { ...DEFAULTS, ...options };
  const runs = new Set();
  let asleep = false;

  /** The conversation about something, with its newest messages, oldest first. */
  async function open(contextType, contextId) {
    const query = new URLSearchParams({ contextType, contextId, order: 'desc', page_size: 50 });
    const { chatId, items } = await call('GET', `${PATH}/messages?${query}`);
    return { chatId, items: items.reverse() };
  }

  /**
   * Sends a message. `use` has `onStart(start)`, `onToken(token, text)`, `onDone(done)`, `onError(error)`, `sourcePage` and
   * `pageContext`. The same content again, before the answer to it is known, is the same message.
   */
  function send(chatId, content, use = {}) {
    let kept = recall(chatId);
    if (kept?.body.content !== content) {
      const { sourcePage, pageContext } = use;
      kept = { at: Date.now(), body: { chatId, content, sourcePage, pageContext, clientMessageId: newId() } };
      storage.set(keyOf(chatId), kept);
    }
    begin({ kept, messageId: kept.messageId, text: '' }, use);
  }

  /** Goes on with the message whose answer was not known when the page was closed or gave up; answers its content, or null. */
  function recover(chatId, use = {}) {
    const kept = recall(chatId);
    if (!kept) return null;
    begin({ kept, messageId: kept.messageId, text: '' }, use);
    return kept.body.content;
  }

  /** Reads a reply on, after `use.text`, which is what there is of it. */
  function resume(messageId, use = {}) {
    begin({ messageId, text: use.text ?? '' }, use);
  }

  /** Asks for no more of a reply; what it said is kept. The stream of it ends with `onDone`. */
  function stop(messageId) {
    return call('POST', `${PATH}/stream/${messageId}/stop`);
  }

  /** Lets go of every connection, as when the page is hidden for long; replies are made all the same. */
  function sleep() {
    asleep = true;
    runs.forEach(halt);
  }

  /** Goes on with everything that was under way. */
  function wake() {
    if (!asleep) return;
    asleep = false;
    runs.forEach((run) => {
      run.attempts = 0;
      follow(run);
    });
  }

  function begin(known, use) {
    const run = { ...known, use, position: [...known.text].length, attempts: 0, turn: 0 };
    runs.add(run);
    if (!asleep) follow(run);
  }

  function halt(run) {
    run.turn += 1; // What the old connection still says is not listened to.
    run.controller?.abort();
  }

  /** Connects, and again for as long as that may help. */
  async function follow(run) {
    halt(run);
    const { turn } = run;
    for (;;) {
      const { end, refusal } = await connect(run);
      if (turn !== run.turn) return;
      if (end && !isDoubtful(run, end)) {
        finish(run, end);
        return;
      }
      run.attempts += 1;
      const pause = pauseAfter(run.attempts, refusal);
      if (pause === null) {
        fail(run, refusal ?? LOST);
        return;
      }
      await after(pause);
      if (turn !== run.turn) return;
    }
  }

  /** One request, until the stream ends (`{ end }`), is refused (`{ refusal }`) or is lost (`{}`). */
  async function connect(run) {
    const controller = new AbortController();
    run.controller = controller;
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), limits.silenceMs);
    };
    alive();
    // Before `start` was seen nobody knows whether the message arrived; sent again, it is the same message.
    const again = run.messageId !== undefined;
    const headers = { authorization: `Bearer ${token()}` };
    if (again) headers['last-event-id'] = `${run.messageId}-${run.position}`;
    else headers['content-type'] = 'application/json';
    try {
      const response = await fetch(baseUrl + (again ? `${PATH}/stream/${run.messageId}` : `${PATH}/stream`), {
        method: again ? 'GET' : 'POST',
        headers,
        body: again ? undefined : JSON.stringify(run.kept.body),
        signal: controller.signal,
      });
      if (!response.ok) return { refusal: await refusalOf(response) };
      let end = null;
      const parse = createParser((event) => {
        if (!controller.signal.aborted) end ??= take(run, event);
      });
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return {};
        alive();
        parse(decoder.decode(value, { stream: true }));
        if (end) return { end };
      }
    } catch {
      return {};
    } finally {
      clearTimeout(timer);
      controller.abort();
    }
  }

  /** What an event means; answers the last one. */
  function take(run, { id, event, data }) {
    const said = JSON.parse(data);
    const chars = Number(id.slice(id.lastIndexOf('-') + 1));
    if (event === 'start') {
      if (run.kept && run.messageId === undefined) keep(run, said.messageId);
      run.messageId = said.messageId;
      if (!run.started) tell(run.use.onStart, said);
      run.started = true;
    } else if (event === 'message') {
      // Only here: the `start` of a resumed stream has 0 in its id.
      run.position = chars;
      run.text += said.token;
      run.attempts = 0;
      tell(run.use.onToken, said.token, run.text);
    } else if (event === 'done' || event === 'error') {
      return { event, said, chars };
    }
    return null;
  }

  /** These two codes may be said of the reading, not of the reply: a second look tells. */
  function isDoubtful(run, { event, said }) {
    const doubtful = event === 'error' && ['unavailable', 'deadline'].includes(said.code) && !run.looked;
    if (doubtful) run.looked = true;
    return doubtful;
  }

  function finish(run, { event, said, chars }) {
    // Of a reply whose maker died, less may be stored than was said.
    if (chars < run.position) run.text = [...run.text].slice(0, chars).join('');
    forget(run);
    runs.delete(run);
    const { message, ...rest } = said;
    if (event === 'done') tell(run.use.onDone, { ...rest, text: run.text });
    else tell(run.use.onError, { ...rest, detail: message, text: run.text, kept: false });
  }

  function fail(run, refusal) {
    // A new token, or patience, may help: then it is still the same message.
    const kept = run.kept !== undefined && (refusal.retryable || refusal.status === 401);
    if (!kept) forget(run);
    runs.delete(run);
    tell(run.use.onError, { messageId: run.messageId, ...refusal, text: run.text, kept });
  }

  /** How long to wait before the next attempt, or null where there is none. */
  function pauseAfter(attempts, refusal) {
    const asked = (refusal?.retryAfter ?? 0) * 1000;
    if (attempts >= limits.mostAttempts || asked > limits.mostWaitMs || (refusal && !refusal.retryable)) return null;
    const backoff = Math.min(limits.backoffMs * 2 ** (attempts - 1), limits.mostBackoffMs);
    return asked + backoff * (0.5 + Math.random() / 2);
  }

  /** A call that may be repeated, answered in one piece. */
  async function call(method, path) {
    for (let attempts = 1; ; attempts += 1) {
      let refusal;
      try {
        const headers = { authorization: `Bearer ${token()}` };
        const response = await fetch(baseUrl + path, { method, headers, signal: AbortSignal.timeout(limits.silenceMs) });
        if (response.ok) return await response.json();
        refusal = await refusalOf(response);
      } catch {
        // Lost.
      }
      const pause = pauseAfter(attempts, refusal);
      if (pause === null) throw refusal ?? LOST;
      await after(pause);
    }
  }

  function keep(run, messageId) {
    run.kept = { ...run.kept, messageId };
    if (isKept(run)) storage.set(keyOf(run.kept.body.chatId), run.kept);
  }

  function forget(run) {
    if (run.kept && isKept(run)) storage.remove(keyOf(run.kept.body.chatId));
  }

  /** Whether no newer message has taken its place. */
  function isKept({ kept }) {
    return storage.get(keyOf(kept.body.chatId))?.body.clientMessageId === kept.body.clientMessageId;
  }

  function recall(chatId) {
    const kept = storage.get(keyOf(chatId));
    return kept && Date.now() - kept.at < limits.keepMs ? kept : null;
  }

  return { open, send, recover, resume, stop, sleep, wake };
}

/** A refusal as callers get it, whether Parlor said it or something in front of it. */
async function refusalOf(response) {
  const { status, headers } = response;
  const body = (await response.json().catch(() => null)) ?? {};
  const { code = `http_${status}`, detail = '', field, messageId } = body;
  const retryAfter = body.retryAfter || Number(headers.get('retry-after')) || undefined;
  return { status, code, detail, field, messageId, retryAfter, retryable: RETRYABLE.includes(status) };
}

/** A caller's mistake is reported, and breaks no stream. */
function tell(callback, ...said) {
  try {
    callback?.(...said);
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}

const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const keyOf = (chatId) => `parlor:${chatId}`;

/** Unique within a conversation is enough; `crypto.randomUUID` is not there without HTTPS. */
function newId() {
  const chance = () => Math.random().toString(36).slice(2, 10);
  return `${Date.now().toString(36)}-${chance()}${chance()}`;
}
