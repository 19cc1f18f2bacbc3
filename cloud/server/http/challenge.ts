/**
 * `POST /agent/challenge` (wire/enrolment.ts), before everything else that the server carries: when ten thousand nodes come
 * back at once this is asked ten thousand times and more, and most are told to come later. Either answer must cost next
 * to nothing, so no router, no middleware and no session stand before it. Enrolment is agent-routes.ts.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { ChallengeRequest } from '@mastline/shared/wire/enrolment';
import type { Arrivals } from '../gateway/arrivals';
import type { FindNode } from '../gateway/node-finder';
import type { Nonces } from '../gateway/nonces';
import type { Log } from '../log';

const PATH = '/agent/challenge';
const MAX_BODY_BYTES = 16 * 1024;

export interface ChallengeOptions {
  nonces: Nonces;
  findNode: FindNode;
  arrivals: Arrivals;
  log: Log;
  /** Hears the status of every answer. */
  answered(status: number): void;
}

/** Answers a challenge request; false for any other, which is left as it came. */
export function challengeHandler(
  options: ChallengeOptions,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const { nonces, findNode, arrivals, log, answered } = options;

  const answer = (response: ServerResponse, status: number, body: object, retryAfter?: number) => {
    if (response.writableEnded) return;
    answered(status);
    const text = JSON.stringify(body);
    response
      .writeHead(status, {
        'Content-Type': 'application/json; charset=utf-8',
        'Content-Length': Buffer.byteLength(text),
        'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff',
        // Agents ask once over each connection, so that names are resolved anew.
        Connection: 'close',
        ...(retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) }),
      })
      .end(text);
  };
  const busy = (response: ServerResponse) =>
    answer(
      response,
      503,
      { code: 'link/busy', message: 'The cloud is busy. Come back later.' },
      arrivals.retryAfterSeconds(),
    );
  const invalid = (response: ServerResponse, status: number) =>
    answer(response, status, {
      code: 'input/invalid',
      message: `The body must be JSON of at most ${MAX_BODY_BYTES / 1024} KB.`,
    });

  const challenge = async (body: string, response: ServerResponse): Promise<void> => {
    let json: unknown;
    try {
      json = JSON.parse(body);
    } catch {
      return invalid(response, 400);
    }
    try {
      const { nodeId } = parseOrExplain(ChallengeRequest, json, 'The challenge request');
      const found = await findNode(nodeId);
      if (found.is === 'refused')
        answer(response, found.status, { code: found.code, message: found.message });
      else answer(response, 200, { nonce: nonces.issue(nodeId) });
    } catch (error) {
      if (error instanceof CodedError && error.code === 'input/invalid')
        return answer(response, 400, { code: error.code, message: error.userMessage.slice(0, 500) });
      if (!(error instanceof CodedError && error.code === 'db/busy'))
        log.error({ err: error }, 'a challenge could not be given');
      busy(response);
    }
  };

  return (request, response) => {
    if (request.method !== 'POST' || request.url !== PATH) return false;
    request.on('error', () => response.destroy());
    // Before a byte of the body is read.
    if (!arrivals.mayAsk()) {
      request.resume();
      busy(response);
      return true;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
      else invalid(response, 413);
    });
    request.on('end', () => {
      if (bytes <= MAX_BODY_BYTES) void challenge(Buffer.concat(chunks).toString('utf8'), response);
    });
    return true;
  };
}
