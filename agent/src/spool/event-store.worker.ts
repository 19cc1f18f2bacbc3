/**
 * The thread that owns the file of events: another one than the usage spool's, so that a disk that is busy with events
 * never holds a commit up. Takes one request at a time; decides nothing (event-file.ts does).
 */
import { parentPort, workerData } from 'node:worker_threads';
import { EventFile } from './event-file';
import type { EventReply, EventRequest, EventStoreData } from './event-store';

const port = parentPort;
if (!port) throw new Error('event-store.worker runs as a worker thread only');
const file = new EventFile({ path: (workerData as EventStoreData).path });
const say = (reply: EventReply) => port.postMessage(reply);

port.on('message', (request: EventRequest) => {
  const { id } = request;
  switch (request.operation) {
    case 'write':
      return say({ id, value: file.write(request.chunks, request.forget) });
    case 'oldest':
      return say({ id, value: file.oldest(request.stream, request.after) ?? null });
    case 'empty':
      return say({ id, value: file.empty(request.forget) });
    case 'close':
      file.close();
      say({ id, value: null });
      port.close();
  }
});
