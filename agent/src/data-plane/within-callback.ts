/**
 * Which bare connections (tcp-socket.ts) died within the callback of a handle that is under way: whoever listens hears
 * of it when the outermost is done. So nobody who closes one is called back within that, and libuv, which would call
 * once for each, need not.
 */
interface Closed {
  closed(): void;
}

let depth = 0;
const dying: Closed[] = [];

/** A handle has called. */
export function enter(): void {
  depth += 1;
}

/** What it called is done: once for each `enter`. */
export function leave(): void {
  if (depth > 1) {
    depth -= 1;
    return;
  }
  // Still within: what these close in turn joins them.
  try {
    for (let at = 0; at < dying.length; at += 1) dying[at]?.closed();
  } finally {
    dying.length = 0;
    depth = 0;
  }
}

/** Has `closed` called at the end of the callback that is under way; false when none is. */
export function closedWithin(one: Closed): boolean {
  if (depth === 0) return false;
  dying.push(one);
  return true;
}
