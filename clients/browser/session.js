// A talk with a bot by the session API: nothing streams; a message is sent, and its reply is looked for.

const RETRYABLE = [408, 429, 500, 502, 503, 504];

/** `baseUrl` is where Parlor is; `token()` answers the JWT of the moment; `sessionId` is of `POST /api/chat/sessions`. */
export function createSession(options) {
  const { baseUrl, token, sessionId, fetch = globalThis.fetch.bind(globalThis), pollMs = 1000, mostPollMs = 5000, patienceMs = 180000 } = options;
  const messages = `${baseUrl}/api/chat/sessions/${sessionId}/messages`;

  /** Sends a message. Under the same `key` it is the same message for a day, however often it is sent: keep it until this resolves. */
  async function send(content, key) {
    const headers = { 'content-type': 'application/json', 'idempotency-key': key };
    const { message } = await call(messages, { method: 'POST', headers, body: JSON.stringify({ content }) });
    return message;
  }

  /** Waits for the reply to a message; null when patience has run out, and then it may be asked for again. */
  async function reply(message) {
    const until = Date.now() + patienceMs;
    let after = message.id;
    for (let pause = pollMs; Date.now() < until; pause = Math.min(pause * 1.5, mostPollMs)) {
      const page = await call(`${messages}?after=${after}`);
      const found = page.messages.find((other) => other.sender_type === 'bot' && other.reply_to === message.id);
      if (found) return found;
      if (page.count > 0) after = page.messages[page.count - 1].id;
      if (!page.has_more) await sleep(pause * (0.5 + Math.random() / 2));
    }
    return null;
  }

  /** What the bot has said so far was read. */
  function markRead() {
    return call(`${baseUrl}/api/chat/sessions/${sessionId}/read`, { method: 'PUT' });
  }

  /** Each of these calls may be repeated. A refusal that stays one is thrown: `{ status, code, error }`. */
  async function call(url, { headers, ...request } = {}) {
    for (let attempt = 1; ; attempt += 1) {
      let refusal = { code: 'lost', error: 'Connection lost' };
      let retryAfter = 0;
      try {
        const all = { authorization: `Bearer ${token()}`, ...headers };
        const response = await fetch(url, { ...request, headers: all, signal: AbortSignal.timeout(25000) });
        if (response.ok) return await response.json();
        retryAfter = Number(response.headers.get('retry-after')) || 0;
        refusal = { code: `http_${response.status}`, ...(await response.json().catch(() => null)), status: response.status };
      } catch {
        // Lost, or cut in the middle.
      }
      const helps = refusal.status === undefined || RETRYABLE.includes(refusal.status);
      if (!helps || attempt === 6 || retryAfter > 30) throw refusal;
      await sleep(retryAfter * 1000 + Math.min(500 * 2 ** attempt, 10000) * (0.5 + Math.random() / 2));
    }
  }

  return { send, reply, markRead };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
