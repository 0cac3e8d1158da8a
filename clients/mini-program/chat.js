// A chat with Parlor from a mini-program: streams replies, reads on after the background, stops, and repeats safely.

const { createDecoder } = require('./utf8');
const { createParser } = require('./sse');

const PATH = '/api/xcx/chat';

const DEFAULTS = {
  silenceMs: 25000, // The server pings every 10 s, so this much silence is a lost connection.
  backoffMs: 500, // The first pause; each is twice the one before it, up to the longest.
  mostBackoffMs: 10000,
  mostAttempts: 8, // Without a new piece of text between them.
  mostWaitMs: 30000, // Whoever is told to come back later than that tells the user instead.
  keepMs: 600000, // A message that is older than that is not repeated.
  storage: {
    get: (key) => wx.getStorageSync(key),
    set: (key, value) => wx.setStorageSync(key, value),
    remove: (key) => wx.removeStorageSync(key),
  },
};

/** `baseUrl` is where Parlor is; `token()` answers the JWT of the moment. */
function createChat(options) {
  const { baseUrl, token, storage, ...limits } = { ...DEFAULTS, ...options };
  const runs = new Set();
  let asleep = false;

  /** The conversation about something, with its newest messages, oldest first. */
  function open(contextType, contextId) {
    const query = `contextType=${contextType}&contextId=${encodeURIComponent(contextId)}&order=desc&page_size=50`;
    return call('GET', `${PATH}/messages?${query}`).then((page) => ({ chatId: page.chatId, items: page.items.reverse() }));
  }

  /**
   * Sends a message. `use` has `onStart(start)`, `onToken(token, text)`, `onDone(done)`, `onError(error)`, `sourcePage` and
   * `pageContext`. The same content again, before the answer to it is known, is the same message.
   */
  function send(chatId, content, use = {}) {
    let kept = recall(chatId);
    if (!kept || kept.body.content !== content) {
      const { sourcePage, pageContext } = use;
      kept = { at: Date.now(), body: { chatId, content, sourcePage, pageContext, clientMessageId: newId() } };
      storage.set(keyOf(chatId), kept);
    }
    begin({ kept, messageId: kept.messageId, text: '' }, use);
  }

  /** Goes on with the message whose answer was not known when the app was closed or gave up; answers its content, or null. */
  function recover(chatId, use = {}) {
    const kept = recall(chatId);
    if (!kept) return null;
    begin({ kept, messageId: kept.messageId, text: '' }, use);
    return kept.body.content;
  }

  /** Reads a reply on, after `use.text`, which is what there is of it. */
  function resume(messageId, use = {}) {
    begin({ messageId, text: use.text || '' }, use);
  }

  /** Asks for no more of a reply; what it said is kept. The stream of it ends with `onDone`. */
  function stop(messageId) {
    return call('POST', `${PATH}/stream/${messageId}/stop`);
  }

  /** To be called in `onHide` and `onUnload`: connections do not live through the background. */
  function sleep() {
    asleep = true;
    runs.forEach(halt);
  }

  /** To be called in `onShow`: goes on with everything that was under way. */
  function wake() {
    if (!asleep) return;
    asleep = false;
    runs.forEach((run) => {
      run.attempts = 0;
      follow(run);
    });
  }

  function begin(known, use) {
    const run = { ...known, use, position: Array.from(known.text).length, attempts: 0, turn: 0, drop() {} };
    runs.add(run);
    if (!asleep) follow(run);
  }

  function halt(run) {
    run.turn += 1; // What the old connection still says is not listened to.
    clearTimeout(run.timer);
    run.drop();
  }

  /** Connects, and again for as long as that may help. */
  function follow(run) {
    halt(run);
    const { turn } = run;
    connect(run, (outcome) => {
      if (turn !== run.turn) return;
      const { end, refusal } = outcome;
      if (end && !isDoubtful(run, end)) {
        finish(run, end);
        return;
      }
      run.attempts += 1;
      const pause = pauseAfter(run.attempts, refusal);
      if (pause === null) fail(run, refusal || LOST);
      else run.timer = setTimeout(() => follow(run), pause);
    });
  }

  /** One request, until the stream ends (`{ end }`), is refused (`{ refusal }`) or is lost (`{}`). */
  function connect(run, onOutcome) {
    const decode = createDecoder();
    let heard = '';
    let timer;
    let over = false;
    const close = (outcome) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      task.abort();
      onOutcome(outcome);
    };
    const parse = createParser((event) => {
      const end = !over && take(run, event);
      if (end) close({ end });
    });
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => close({}), limits.silenceMs);
    };
    const hear = (bytes) => {
      if (over) return;
      alive();
      const text = decode(new Uint8Array(bytes));
      if (heard.length < 10000) heard += text; // A refusal is shorter than that.
      parse(text);
    };
    // Before `start` was seen nobody knows whether the message arrived; sent again, it is the same message.
    const again = run.messageId !== undefined;
    const task = wx.request({
      url: baseUrl + (again ? `${PATH}/stream/${run.messageId}?after=${run.position}` : `${PATH}/stream`),
      method: again ? 'GET' : 'POST',
      data: again ? undefined : run.kept.body,
      header: { authorization: `Bearer ${token()}`, 'content-type': 'application/json' },
      enableChunked: true,
      responseType: 'arraybuffer',
      timeout: 600000,
      success(answer) {
        // Where a phone knows no chunks, all of it comes here.
        if (heard === '' && answer.data) hear(answer.data);
        close(answer.statusCode === 200 ? {} : { refusal: refusalOf(answer, heard) });
      },
      fail: () => close({}),
    });
    run.drop = () => close({});
    task.onChunkReceived((chunk) => hear(chunk.data));
    alive();
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
    const doubtful = event === 'error' && (said.code === 'unavailable' || said.code === 'deadline') && !run.looked;
    if (doubtful) run.looked = true;
    return doubtful;
  }

  function finish(run, { event, said, chars }) {
    // Of a reply whose maker died, less may be stored than was said.
    if (chars < run.position) run.text = Array.from(run.text).slice(0, chars).join('');
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
    const asked = refusal && refusal.retryAfter ? refusal.retryAfter * 1000 : 0;
    if (attempts >= limits.mostAttempts || asked > limits.mostWaitMs || (refusal && !refusal.retryable)) return null;
    const backoff = Math.min(limits.backoffMs * 2 ** (attempts - 1), limits.mostBackoffMs);
    return asked + backoff * (0.5 + Math.random() / 2);
  }

  /** A call that may be repeated, answered in one piece. */
  function call(method, path, attempts = 1) {
    return new Promise((resolve, reject) => {
      const settle = (answer) => {
        if (answer && answer.statusCode < 300) {
          resolve(answer.data);
          return;
        }
        const refusal = answer && refusalOf(answer, JSON.stringify(answer.data));
        const pause = pauseAfter(attempts, refusal);
        if (pause === null) reject(refusal || LOST);
        else setTimeout(() => call(method, path, attempts + 1).then(resolve, reject), pause);
      };
      wx.request({
        url: baseUrl + path,
        method,
        header: { authorization: `Bearer ${token()}` },
        timeout: limits.silenceMs,
        success: settle,
        fail: () => settle(null),
      });
    });
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
    const now = storage.get(keyOf(kept.body.chatId));
    return Boolean(now) && now.body.clientMessageId === kept.body.clientMessageId;
  }

  function recall(chatId) {
    const kept = storage.get(keyOf(chatId));
    return kept && Date.now() - kept.at < limits.keepMs ? kept : null;
  }

  return { open, send, recover, resume, stop, sleep, wake };
}

const LOST = { code: 'lost', detail: '连接中断，请稍后再试', retryable: true };
const RETRYABLE = [408, 429, 500, 502, 503, 504];

/** A refusal as callers get it, whether Parlor said it or something in front of it. */
function refusalOf({ statusCode, header }, text) {
  let body = {};
  try {
    body = JSON.parse(text) || {};
  } catch (error) {
    // Not Parlor's.
  }
  const name = Object.keys(header || {}).find((key) => key.toLowerCase() === 'retry-after');
  const { code = `http_${statusCode}`, detail = '', field, messageId } = body;
  const retryAfter = body.retryAfter || Number(name && header[name]) || undefined;
  return { status: statusCode, code, detail, field, messageId, retryAfter, retryable: RETRYABLE.includes(statusCode) };
}

/** A caller's mistake is reported, and breaks no stream. */
function tell(callback, ...said) {
  try {
    if (callback) callback(...said);
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}

function keyOf(chatId) {
  return `parlor:${chatId}`;
}

/** Unique within a conversation is enough. */
function newId() {
  const chance = () => Math.random().toString(36).slice(2, 10);
  return `${Date.now().toString(36)}-${chance()}${chance()}`;
}

module.exports = { createChat };
