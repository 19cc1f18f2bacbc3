/**
 * How V8 collects what a process makes for a moment, set before anything is made. Imported first by main.ts, for its
 * effect only; it holds for all threads.
 *
 * V8 watches which places of the code make objects that live long, and makes them in the old generation from then on.
 * A proxy's objects do live long while its connections do: some hundred idle flows teach V8 that connections are made
 * to stay, and a thousand short ones a second then fill the old generation until a full collection (22 % of all that a
 * connection makes, measured with 200 flows held and then closed; without this, nothing). Objects that do live long
 * get there all the same, by outliving two young collections.
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--no-allocation-site-pretenuring');
