import type { Client, ClientOptions } from 'openapi-fetch';
import type { components, paths } from './schema.js';

export type { components, paths };

/** The types of bodies, such as `Schemas['RunItem']`. */
export type Schemas = components['schemas'];

export interface ParlorOptions extends ClientOptions {
  /** The address of Parlor. An empty one means the page's own origin. */
  baseUrl: string;
  /** A JWT, an API key, or a function that returns one. It is called before each request. */
  token: string | (() => string | Promise<string>);
}

/** One method per HTTP method. Paths, parameters and bodies have the types of `openapi.json`. */
export type Parlor = Client<paths, 'application/json'>;

export function createParlor(options: ParlorOptions): Parlor;

/**
 * Returns the items of all pages of a list that has `next_cursor`. `load` requests one page; the
 * first has no cursor. Throws an `Error` if a page cannot be loaded. Its `cause` is the error body.
 */
export function items<Item>(load: (cursor: string | undefined) => Promise<LoadedPage<Item>>):
  AsyncGenerator<Item, void, undefined>;

export interface LoadedPage<Item> {
  data?: { items: Item[]; next_cursor: string | null };
  error?: { detail: string };
  response: Response;
}
