// A chat with Parlor, without the network. `mini-program/chat.js` and `browser/chat.js` add the
// network. This file uses no API that a phone or a browser lacks.

const PATH = '/api/xcx/chat';

const DEFAULTS = {
  silenceMs: 25000, // The server pings every 10 s. After this long silence a connection is lost.
  backoffMs: 500, // The first pause before a retry. Each pause is twice the previous one.
  maxBackoffMs: 10000,
  maxAttempts: 8, // In a row, without new text.
  maxWaitMs: 30000, // If the server asks for a longer pause, the user gets the error instead.
  keepMs: 600000, // An older unanswered message is not sent again.
};

const LOST = { code: 'lost', detail: '连接中断，请稍后再试', retryable: true };
const RETRYABLE = [408, 429, 500, 502, 503, 504];
const MAX_REFUSAL_CHARS = 10000;

/**
 * Options:
 * - `baseUrl`: the address of Parlor.
 * - `token()`: returns the current JWT.
 * - `storage`: `get(key)`, `set(key, value)`, `remove(key)`, all synchronous.
 * - `request({ url, method, headers, body, isStream }, { onText(text), onEnd(response) })`: makes a
 *   request and returns a function that aborts it. It sends `body` as JSON. It passes each piece of
 *   the response body to `onText`. Then it calls `onEnd` with `{ status, retryAfter }`, or with
 *   null if the connection broke. After an abort it may call both, and nothing happens.
 * - any of `DEFAULTS`.
 */
function createChat(options) {
  const { baseUrl, token, storage, request, ...limits } = { ...DEFAULTS, ...options };
  const replies = new Set(); // The replies that have not ended.
  let isAsleep = false;

  /**
   * Returns a promise of the conversation's id, its newest messages, oldest first, and the cursor
   * of older ones.
   */
  function open(contextType, contextId) {
    const type = encodeURIComponent(contextType);
    const id = encodeURIComponent(contextId);
    const query = `contextType=${type}&contextId=${id}&order=desc&page_size=50`;
    return call('GET', `${PATH}/messages?${query}`)
      .then(({ chatId, items, nextCursor }) => ({ chatId, items: items.reverse(), nextCursor }));
  }

  /**
   * Sends a message. `use` may have `onStart(start)`, `onProgress(progress)`,
   * `onToken(token, text)`, `onReferences(items)`, `onDone(done)`, `onError(error)`, `sourcePage`,
   * `pageContext`, and `edits`, the id of the last question if this one replaces it. If the
   * previous message has no known answer and the same content, it is sent again instead of a new
   * one.
   */
  function send(chatId, content, use = {}) {
    const { sourcePage, pageContext, edits } = use;
    let kept = recall(chatId);
    if (!kept || kept.body.content !== content || kept.body.edits !== edits) {
      const body = { chatId, content, sourcePage, pageContext, edits, clientMessageId: newId() };
      kept = { at: Date.now(), chatId, path: `${PATH}/stream`, body };
      storage.set(keyOf(chatId), kept);
    }
    begin({ kept, messageId: kept.messageId, text: '' }, use);
  }

  /**
   * Replaces the last reply with a new one. `use` may have the callbacks of `send`, `sourcePage`
   * and `pageContext`.
   */
  function regenerate(chatId, use = {}) {
    const { sourcePage, pageContext } = use;
    const path = `${PATH}/${chatId}/regenerate`;
    let kept = recall(chatId);
    if (!kept || kept.path !== path) {
      const body = { sourcePage, pageContext, clientMessageId: newId() };
      kept = { at: Date.now(), chatId, path, body };
      storage.set(keyOf(chatId), kept);
    }
    begin({ kept, messageId: kept.messageId, text: '' }, use);
  }

  /**
   * Continues with the message that has no known answer. Returns its content, which is empty for
   * `regenerate`, or null if there is no such message.
   */
  function recover(chatId, use = {}) {
    const kept = recall(chatId);
    if (!kept) return null;
    begin({ kept, messageId: kept.messageId, text: '' }, use);
    return kept.body.content || '';
  }

  /** Reads the rest of a reply. `use.text` is the part that the caller already has. */
  function resume(messageId, use = {}) {
    begin({ messageId, text: use.text || '' }, use);
  }

  /** Stops a reply. The text so far is stored, and the stream ends with `onDone`. */
  function stop(messageId) {
    return call('POST', `${PATH}/stream/${messageId}/stop`);
  }

  /** Drops all connections, because they do not survive the background. The server continues. */
  function sleep() {
    isAsleep = true;
    replies.forEach(halt);
  }

  /** Reconnects everything that `sleep` dropped. */
  function wake() {
    if (!isAsleep) return;
    isAsleep = false;
    replies.forEach((reply) => {
      reply.attempts = 0;
      follow(reply);
    });
  }

  function begin(known, use) {
    // Positions count Unicode characters, as the server does, and not UTF-16 units.
    const reply = { ...known, use, position: Array.from(known.text).length, attempts: 0 };
    replies.add(reply);
    if (!isAsleep) follow(reply);
  }

  function halt(reply) {
    clearTimeout(reply.timer);
    if (reply.connection) reply.connection.close();
  }

  /** Connects, and reconnects as long as that may help. */
  function follow(reply) {
    halt(reply);
    connect(reply, ({ end, refusal }) => {
      if (end && !isDoubtful(reply, end)) {
        finish(reply, end);
        return;
      }
      reply.attempts += 1;
      const pause = pauseAfter(reply.attempts, refusal);
      if (pause === null) fail(reply, refusal || LOST);
      else reply.timer = setTimeout(() => follow(reply), pause);
    });
  }

  /**
   * Makes one request for a reply. Calls `onOutcome` with `{ end }` after the last event, with
   * `{ refusal }` for an error status, and with `{}` if the connection is lost.
   */
  function connect(reply, onOutcome) {
    let heard = '';
    const parse = createParser(({ id, event, data }) => {
      if (connection.isClosed) return; // A callback closed it, for example by calling `sleep`.
      const said = parseJson(data);
      const end = said && take(reply, id, event, said);
      if (said && !end) return;
      connection.close();
      onOutcome(end ? { end } : {}); // An event that is not JSON was damaged on its way.
    });
    // Without a message id it is unknown whether the server has the message, so it is sent again.
    // The same `clientMessageId` makes that safe.
    const isKnown = reply.messageId !== undefined;
    const connection = exchange({
      method: isKnown ? 'GET' : 'POST',
      path: isKnown ? `${PATH}/stream/${reply.messageId}?after=${reply.position}` : reply.kept.path,
      body: isKnown ? undefined : reply.kept.body,
      isStream: true,
      onText(text) {
        if (heard.length < MAX_REFUSAL_CHARS) heard += text;
        parse(text);
      },
      onEnd(response) {
        const isRefused = response && !isOk(response);
        onOutcome(isRefused ? { refusal: refusalOf(response, parseJson(heard)) } : {});
      },
    });
    reply.connection = connection;
  }

  /** Makes a request. It counts as lost after `silenceMs` without a byte. */
  function exchange({ method, path, body, isStream, onText, onEnd }) {
    const headers = { authorization: `Bearer ${token()}` };
    if (body) headers['content-type'] = 'application/json';
    const connection = { isClosed: false, close };
    let timer;
    let abort;
    function close() {
      if (connection.isClosed) return;
      connection.isClosed = true;
      clearTimeout(timer);
      if (abort) abort();
    }
    function end(response) {
      if (connection.isClosed) return;
      close();
      onEnd(response);
    }
    function expectMore() {
      clearTimeout(timer);
      timer = setTimeout(() => end(null), limits.silenceMs);
    }
    expectMore();
    abort = request({ url: baseUrl + path, method, headers, body, isStream }, {
      onEnd: end,
      onText(text) {
        if (connection.isClosed) return;
        expectMore();
        onText(text);
      },
    });
    return connection;
  }

  /**
   * Applies an event to a reply. Returns the end of the reply if this event is the last one. Events
   * of a newer server are ignored.
   */
  function take(reply, id, event, said) {
    const position = Number(id.slice(id.lastIndexOf('-') + 1));
    if (event === 'start') {
      if (reply.kept && reply.messageId === undefined) keep(reply, said.messageId);
      reply.messageId = said.messageId;
      const edits = reply.kept && reply.kept.body.edits;
      if (!reply.isStarted) tell(reply.use.onStart, { ...said, edits });
      reply.isStarted = true;
    } else if (event === 'message') {
      // Only `message` moves the position: the id of a resumed `start` ends in 0.
      reply.position = position;
      reply.text += said.token;
      reply.attempts = 0;
      tell(reply.use.onToken, said.token, reply.text);
    } else if (event === 'progress') {
      tell(reply.use.onProgress, said);
    } else if (event === 'references') {
      tell(reply.use.onReferences, said.items);
    } else if (event === 'done' || event === 'error') {
      return { event, said, position };
    }
    return null;
  }

  /** True once per reply if the error may concern the connection and not the reply. */
  function isDoubtful(reply, { event, said }) {
    const mayBeConnection = said.code === 'unavailable' || said.code === 'deadline';
    if (event !== 'error' || !mayBeConnection || reply.isChecked) return false;
    reply.isChecked = true;
    return true;
  }

  /** Reports the end that the server sent. */
  function finish(reply, { event, said, position }) {
    // A server that crashed has sent more text than it stored. The stored text counts.
    const isShorter = position < reply.position;
    const text = isShorter ? Array.from(reply.text).slice(0, position).join('') : reply.text;
    forget(reply);
    replies.delete(reply);
    const { message, ...rest } = said;
    if (event === 'done') tell(reply.use.onDone, { ...rest, text });
    else tell(reply.use.onError, { ...rest, detail: message, text, kept: false });
  }

  /** Reports an error after which the reply is not read any further. */
  function fail(reply, refusal) {
    // A new token or a later attempt may help. The message is kept for that.
    const kept = reply.kept !== undefined && (refusal.retryable || refusal.status === 401);
    if (!kept) forget(reply);
    replies.delete(reply);
    tell(reply.use.onError, { messageId: reply.messageId, ...refusal, text: reply.text, kept });
  }

  /** Returns the pause before the next attempt in milliseconds, or null if there is none. */
  function pauseAfter(attempts, refusal) {
    const asked = refusal && refusal.retryAfter ? refusal.retryAfter * 1000 : 0;
    if (refusal && !refusal.retryable) return null;
    if (attempts >= limits.maxAttempts || asked > limits.maxWaitMs) return null;
    const backoff = Math.min(limits.backoffMs * 2 ** (attempts - 1), limits.maxBackoffMs);
    return asked + backoff * (0.5 + Math.random() / 2);
  }

  /**
   * Makes a request, with retries unless `isOnce` is true. Returns a promise of the JSON body,
   * which is null for status 204. With `isText`, the body is text.
   */
  function call(method, path, { body: sent, isOnce, isText } = {}, attempts = 1) {
    return new Promise((resolve, reject) => {
      let text = '';
      exchange({
        method,
        path,
        body: sent,
        isStream: false,
        onText(piece) {
          text += piece;
        },
        onEnd(response) {
          const isRefused = response && !isOk(response);
          const body = response && (isText && !isRefused ? text : parseJson(text));
          if (response && !isRefused && (body !== null || response.status === 204)) {
            resolve(body);
            return;
          }
          const refusal = isRefused ? refusalOf(response, body) : LOST;
          const pause = isOnce ? null : pauseAfter(attempts, refusal);
          const again = () => call(method, path, { body: sent, isText }, attempts + 1);
          if (pause === null) reject(refusal);
          else setTimeout(() => resolve(again()), pause);
        },
      });
    });
  }

  function keep(reply, messageId) {
    reply.kept = { ...reply.kept, messageId };
    if (isNewest(reply)) storage.set(keyOf(reply.kept.chatId), reply.kept);
  }

  function forget(reply) {
    if (reply.kept && isNewest(reply)) storage.remove(keyOf(reply.kept.chatId));
  }

  /** False if a newer message of the conversation took the place in the storage. */
  function isNewest({ kept }) {
    const stored = storage.get(keyOf(kept.chatId));
    return Boolean(stored) && stored.body.clientMessageId === kept.body.clientMessageId;
  }

  function recall(chatId) {
    const kept = storage.get(keyOf(chatId));
    return kept && Date.now() - kept.at < limits.keepMs ? kept : null;
  }

  return { open, send, regenerate, recover, resume, stop, sleep, wake, call };
}

/**
 * Parses server-sent events. Returns a function that takes the next piece of text. The pieces may
 * be cut anywhere. The function calls `onEvent({ id, event, data })` for each complete event.
 */
function createParser(onEvent) {
  let isFirst = true; // The text may begin with a byte order mark.
  let isAfterCr = false; // The previous character was CR. An LF now belongs to the same line end.
  let line = '';
  let id = '';
  let event = '';
  let data = null;

  function endLine() {
    if (line === '') {
      if (data !== null) onEvent({ id, event: event || 'message', data });
      event = '';
      data = null;
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon); // Empty for a comment.
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);
    line = '';
    if (field === 'data') data = data === null ? value : `${data}\n${value}`;
    else if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
  }

  return (text) => {
    let from = 0;
    if (isFirst && text !== '') {
      isFirst = false;
      if (text[0] === '\ufeff') from = 1;
    }
    for (let i = from; i < text.length; i += 1) {
      const character = text[i];
      if (character === '\n' && isAfterCr) {
        from = i + 1;
      } else if (character === '\n' || character === '\r') {
        line += text.slice(from, i);
        from = i + 1;
        endLine();
      }
      isAfterCr = character === '\r';
    }
    line += text.slice(from);
  };
}

const isOk = ({ status }) => status >= 200 && status < 300;

/** Returns an error for the caller. `body` is null if a proxy answered and not Parlor. */
function refusalOf({ status, retryAfter }, body) {
  const { code = `http_${status}`, detail = '', field, messageId } = body || {};
  const seconds = (body && body.retryAfter) || Number(retryAfter) || undefined;
  const retryable = RETRYABLE.includes(status);
  return { status, code, detail, field, messageId, retryAfter: seconds, retryable };
}

/** Returns null for text that is not JSON. */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    return null;
  }
}

/** Calls a callback. An exception in it is reported and does not break the stream. */
function tell(callback, ...said) {
  try {
    if (callback) callback(...said);
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}

const keyOf = (chatId) => `parlor:${chatId}`;

/** Must be unique within a conversation. `crypto.randomUUID` exists only under HTTPS. */
function newId() {
  const random = () => Math.random().toString(36).slice(2, 10);
  return `${Date.now().toString(36)}-${random()}${random()}`;
}

// A mini-program loads this file with `require`, and a browser with `import`. `export` is a syntax
// error for `require`, and a browser has no `module`. Some phones have no `globalThis`.
const parlorCore = { createChat, createParser };
if (typeof module === 'object') module.exports = parlorCore;
if (typeof globalThis === 'object') globalThis.parlorCore = parlorCore;
