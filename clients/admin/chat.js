export { createChat } from '../browser/chat.js';
