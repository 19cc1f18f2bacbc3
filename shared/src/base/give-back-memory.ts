/**
 * Asks V8 for what it does by itself when the system is short of memory: collect everything, and give free pages and
 * the grown part of the young generation back. The one public way to ask is the inspector's protocol, spoken to one's
 * own thread; nothing listens on any port. Stops the thread for some milliseconds.
 */
import { Session } from 'node:inspector';

export function giveBackMemory(): void {
  const session = new Session();
  session.connect();
  // The answer comes from within V8's task. Hanging up there would block this thread for ever.
  session.post('HeapProfiler.collectGarbage', () => setImmediate(() => session.disconnect()));
}
