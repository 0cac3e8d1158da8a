import createClient from 'openapi-fetch';

export function createParlor({ token, ...options }) {
  const client = createClient(options);
  client.use({
    async onRequest({ request }) {
      const current = typeof token === 'function' ? await token() : token;
      request.headers.set('authorization', `Bearer ${current}`);
      return request;
    },
  });
  return client;
}

export async function* items(load) {
  let cursor;
  do {
    const { data, error, response } = await load(cursor);
    if (!data) throw new Error(error?.detail ?? `status ${response.status}`, { cause: error });
    yield* data.items;
    cursor = data.next_cursor ?? undefined;
  } while (cursor);
}
