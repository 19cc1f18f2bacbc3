/** Enrolment over HTTP; challenges are challenge.ts. Refusals are WireRefusal with a fitting status. */
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { type EnrolReply, EnrolRequest, REFUSAL } from '@mastline/shared/wire/enrolment';
import express, { type ErrorRequestHandler, type Router } from 'express';
import type { Database } from '../db/database';
import { enrolNode } from '../fleet/enrol';
import type { Log } from '../log';
import { trustedKeys } from '../rollout/signing';
import type { Services } from '../rpc/context';

const MAX_BODY = '16kb';
const NUL_ESCAPE = '\\u0000';

const STATUS: Record<string, number> = {
  'input/invalid': 400,
  [REFUSAL.claimUnknown]: 404,
  [REFUSAL.claimUsed]: 409,
  [REFUSAL.claimExpired]: 410,
  'enrol/consent-outdated': 409,
  'enrol/key-in-use': 409,
};

export function agentRoutes(options: {
  services: Services;
  db: Database;
  log: Log;
  /** Runs before the reply: what the new node shall be is set when it first connects. */
  onEnrolled: (nodeId: string) => Promise<void>;
}): Router {
  const { services, db, log } = options;
  const router = express.Router();
  router.use(
    express.json({
      limit: MAX_BODY,
      type: () => true,
      verify: (_request, _response, body) => {
        // No column of PostgreSQL takes a NUL: what express makes of this is a 403.
        if (body.includes(NUL_ESCAPE)) throw new Error('texts must not contain NUL');
      },
    }),
  );

  router.post('/enrol', async (request, response, next) => {
    try {
      const enrolled = await enrolNode(services, parseOrExplain(EnrolRequest, request.body, 'The enrolment'));
      log.info(
        { nodeId: enrolled.nodeId, isNew: enrolled.isNew, requestId: response.locals.requestId },
        'node enrolled',
      );
      await options.onEnrolled(enrolled.nodeId);
      const reply: EnrolReply = { nodeId: enrolled.nodeId, stateKeys: await trustedKeys(db) };
      services.presence.changed();
      response.json(reply);
    } catch (error) {
      next(error);
    }
  });

  router.use((_request, response) => {
    response
      .status(404)
      .json({ code: 'http/not-found', message: 'There is nothing for agents at this address.' });
  });
  router.use(refusalOf(log));
  return router;
}

function refusalOf(log: Log): ErrorRequestHandler {
  return (error: unknown, _request, response, next) => {
    if (response.headersSent) return next(error);
    if (error instanceof CodedError && STATUS[error.code] !== undefined) {
      log.info({ code: error.code, requestId: response.locals.requestId }, 'agent request refused');
      response
        .status(STATUS[error.code] ?? 400)
        .json({ code: error.code, message: error.userMessage.slice(0, 500) });
      return;
    }
    // What express.json throws says which status fits: too large, not JSON.
    const status = (error as { status?: unknown }).status;
    if (typeof status === 'number' && status >= 400 && status < 500) {
      response.status(status).json({
        code: 'input/invalid',
        message: `The body must be JSON of at most ${MAX_BODY}, without NUL characters.`,
      });
      return;
    }
    log.error({ err: error, requestId: response.locals.requestId }, 'agent request failed');
    response
      .status(500)
      .json({ code: 'http/fault', message: 'Something went wrong on our side. Try again later.' });
  };
}
