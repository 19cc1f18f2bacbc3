/**
 * Makes somebody the owner of a wire (wire.ts), whichever kind it is: a bare connection calls its owner, a stream of
 * Node's emits events.
 */
import { TcpSocket } from './tcp-socket';
import type { Wire, WireOwner } from './wire';

/** `owner` is told what happens on `wire` from now on. */
export function own(wire: Wire, owner: WireOwner): void {
  if (wire instanceof TcpSocket) {
    wire.owner = owner;
    return;
  }
  if (owner.wireData) wire.on('data', bytes => owner.wireData?.(bytes));
  wire.once('end', () => owner.wireEnded());
  // "close" follows and says whether there was one.
  wire.on('error', () => undefined);
  wire.once('close', hadError => owner.wireClosed(hadError));
}

/** Nobody needs to hear of a bare connection any more. A stream goes on telling, since it may have errors to tell. */
export function disown(wire: Wire): void {
  if (wire instanceof TcpSocket) wire.owner = null;
}
