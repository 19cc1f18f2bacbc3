/**
 * One JSON question to the cloud over HTTP: enrolment and the nonce before a link. A connection of its own each
 * time, so that the name is resolved anew; bounded in time and size. The link itself is link-session.ts.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { problemsOf } from '@mastline/shared/base/problems';
import { WireRefusal } from '@mastline/shared/wire/enrolment';
import type { ZodType } from 'zod';
import { type CloudRoute, connector, STRAIGHT } from './cloud-route';

const MAX_ANSWER_BYTES = 64 * 1024;
const REQUEST_DEADLINE_MS = 15_000;

export type CloudAnswer<T> =
  | { is: 'ok'; body: T }
  /** `retryAfter`: the header of that name, as it came. */
  | { is: 'refused'; status: number; refusal: WireRefusal; retryAfter: string | undefined };

export interface CloudQuestion<T> {
  cloudUrl: string;
  /** How to get there; straight when left out. */
  route?: CloudRoute;
  /** `/agent/…` */
  path: string;
  body: unknown;
  answer: ZodType<T>;
  clock: Clock;
  signal?: AbortSignal;
}

/**
 * Posts and parses. A refusal in the protocol's form is a value; throws `cloud/unreachable` (retryable) when no
 * answer came, and `cloud/bad-answer` when one came that no cloud of ours gives.
 */
export async function askCloud<T>(question: CloudQuestion<T>): Promise<CloudAnswer<T>> {
  const { status, text, retryAfter } = await post(question);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw badAnswer(question, `status ${status}, and the body is not JSON`, status);
  }
  if (status >= 200 && status < 300) {
    const parsed = question.answer.safeParse(json);
    if (parsed.success) return { is: 'ok', body: parsed.data };
    throw badAnswer(question, problemsOf(parsed.error).join('; '), status);
  }
  const refusal = WireRefusal.safeParse(json);
  if (!refusal.success) throw badAnswer(question, `status ${status} without a code`, status);
  return { is: 'refused', status, refusal: refusal.data, retryAfter };
}

/** What a refused upgrade says; a code of ours when it says nothing that we know. */
export async function readRefusal(response: IncomingMessage): Promise<WireRefusal> {
  const text = await readAll(response);
  const unexplained = { code: 'link/upgrade-refused', message: `status ${response.statusCode ?? 0}` };
  try {
    return WireRefusal.safeParse(JSON.parse(text)).data ?? unexplained;
  } catch {
    // A proxy's error page, for example.
    return unexplained;
  }
}

/** `wss://host/agent` for `https://host/`: the address of a path under the cloud's URL. */
export function cloudAddress(cloudUrl: string, path: string): URL {
  const base = new URL(cloudUrl);
  base.pathname = `${base.pathname.replace(/\/+$/, '')}${path}`;
  base.search = '';
  base.hash = '';
  return base;
}

function post<T>(
  question: CloudQuestion<T>,
): Promise<{ status: number; text: string; retryAfter: string | undefined }> {
  const { clock, signal } = question;
  const url = cloudAddress(question.cloudUrl, question.path);
  const body = Buffer.from(JSON.stringify(question.body));
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const finish = (act: () => void) => {
      timer.cancel();
      act();
    };
    const request = send(url, {
      method: 'POST',
      // A connection of its own, no pool: a pooled socket would keep talking to an address that the name has left.
      createConnection: connector(question.route ?? STRAIGHT, url, { clock, signal }) as never,
      headers: {
        'content-type': 'application/json',
        'content-length': body.length,
        accept: 'application/json',
      },
      ...(signal ? { signal } : {}),
    });
    const timer = clock.after(REQUEST_DEADLINE_MS, () =>
      request.destroy(new Error(`no answer within ${REQUEST_DEADLINE_MS} ms`)),
    );
    const fail = (error: unknown) => finish(() => reject(unreachable(url, error)));
    request.on('error', fail);
    request.on('response', response => {
      readAll(response).then(
        text =>
          finish(() =>
            resolve({
              status: response.statusCode ?? 0,
              text,
              retryAfter: response.headers['retry-after'],
            }),
          ),
        error => {
          request.destroy();
          fail(error);
        },
      );
    });
    request.end(body);
  });
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer has more than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function unreachable(url: URL, error: unknown): CodedError {
  // The proxy's own sentence says more than that the cloud is far.
  if (error instanceof CodedError) return error;
  const cause = codeOf(error);
  const said = messageOf(error) || cause || 'no reason given';
  return new CodedError('cloud/unreachable', `${url.origin}: ${said}`, {
    userMessage: `The cloud at ${url.origin} cannot be reached (${said}). Check the address and this machine's network.`,
    retryable: true,
    cause: error,
  });
}

function badAnswer(question: CloudQuestion<unknown>, detail: string, status: number): CodedError {
  const url = cloudAddress(question.cloudUrl, question.path);
  return new CodedError(
    'cloud/bad-answer',
    `${url.href} did not answer as a Mastline cloud does: ${detail}`,
    {
      userMessage: `${url.origin} does not answer as a Mastline cloud does. Check the address.`,
      // 5xx: whatever stands before the cloud speaks for it while it is away.
      retryable: status >= 500,
    },
  );
}
