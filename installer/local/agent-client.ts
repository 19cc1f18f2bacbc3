/** The agent's status page, asked over its Unix socket. */
import { request } from 'node:http';
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';

const DEADLINE_MS = 3_000;

const AgentStatus = z.looseObject({
  nodeId: z.string().nullable(),
  running: z.looseObject({ revision: z.int() }),
  slots: z.array(
    z.looseObject({
      slot: z.int(),
      state: z.string(),
      reason: z.string(),
      exitAddress: z.string().nullable(),
    }),
  ),
  listeners: z.array(
    z.looseObject({
      endpointId: z.string(),
      listening: z.boolean(),
      problem: z.looseObject({ message: z.string() }).nullable(),
    }),
  ),
  /** Committed to the spool since the agent started, by endpoint. */
  usage: z.array(
    z.looseObject({ endpointId: z.string(), upBytes: z.int(), downBytes: z.int(), flows: z.int() }),
  ),
});
export type AgentStatus = z.infer<typeof AgentStatus>;

/** What the agent behind `socketPath` thinks right now. Throws `start/agent-status` when it does not answer. */
export function agentStatus(socketPath: string): Promise<AgentStatus> {
  return new Promise((resolve, reject) => {
    const failed = (why: string) =>
      reject(new CodedError('start/agent-status', `the agent's status page: ${why}`));
    const call = request({ socketPath, path: '/status', timeout: DEADLINE_MS }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        text += chunk;
      });
      response.on('error', error => failed(error.message));
      response.on('end', () => {
        try {
          resolve(parseOrExplain(AgentStatus, JSON.parse(text), "the agent's status", 'start/agent-status'));
        } catch (error) {
          reject(error);
        }
      });
    });
    call.on('timeout', () => call.destroy(new Error(`no answer after ${DEADLINE_MS} ms`)));
    call.on('error', error => failed(error.message));
    call.end();
  });
}
