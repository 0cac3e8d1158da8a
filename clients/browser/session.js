// A conversation with a bot through the session API. It does not stream: the client polls for the
// reply.

const RETRYABLE = [408, 429, 500, 502, 503, 504];

/**
 * Needs `baseUrl`, the address of Parlor, `token()`, which returns the current JWT, and `sessionId`
 * from `POST /api/chat/sessions`.
 */
export function createSession(options) {
  const { baseUrl, token, sessionId, fetch = globalThis.fetch.bind(globalThis) } = options;
  const { pollMs = 1000, maxPollMs = 5000, timeoutMs = 180000 } = options;
  const messages = `${baseUrl}/api/chat/sessions/${sessionId}/messages`;

  /**
   * Sends a message. For 24 hours, the same `key` means the same message, and it is stored once.
   * Keep the key until the promise resolves.
   */
  async function send(content, key) {
    const headers = { 'content-type': 'application/json', 'idempotency-key': key };
    const body = JSON.stringify({ content });
    const { message } = await call(messages, { method: 'POST', headers, body });
    return message;
  }

  /** Waits for the reply to a message. Returns null after `timeoutMs`. It may be called again. */
  async function reply(message) {
    const until = Date.now() + timeoutMs;
    let after = message.id;
    for (let pause = pollMs; Date.now() < until; pause = Math.min(pause * 1.5, maxPollMs)) {
      const page = await call(`${messages}?after=${after}`);
      const isReply = (other) => other.sender_type === 'bot' && other.reply_to === message.id;
      const found = page.messages.find(isReply);
      if (found) return found;
      if (page.count > 0) after = page.messages[page.count - 1].id;
      if (!page.has_more) await sleep(pause * (0.5 + Math.random() / 2));
    }
    return null;
  }

  /** Marks all messages of the bot so far as read. */
  function markRead() {
    return call(`${baseUrl}/api/chat/sessions/${sessionId}/read`, { method: 'PUT' });
  }

  /**
   * Makes an idempotent request, with retries. Throws `{ status, code, error }` if no retry helps.
   */
  async function call(url, { headers, ...request } = {}) {
    for (let attempt = 1; ; attempt += 1) {
      let refusal = { code: 'lost', error: 'Connection lost' };
      let retryAfter = 0;
      try {
        const all = { authorization: `Bearer ${token()}`, ...headers };
        const signal = AbortSignal.timeout(25000);
        const response = await fetch(url, { ...request, headers: all, signal });
        if (response.ok) return await response.json();
        retryAfter = Number(response.headers.get('retry-after')) || 0;
        const { status } = response;
        const body = await response.json().catch(() => null);
        refusal = { code: `http_${status}`, ...body, status };
      } catch {
        // The connection broke, before or during the response.
      }
      const isRetryable = refusal.status === undefined || RETRYABLE.includes(refusal.status);
      if (!isRetryable || attempt === 6 || retryAfter > 30) throw refusal;
      const backoff = Math.min(500 * 2 ** attempt, 10000);
      await sleep(retryAfter * 1000 + backoff * (0.5 + Math.random() / 2));
    }
  }

  return { send, reply, markRead };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
