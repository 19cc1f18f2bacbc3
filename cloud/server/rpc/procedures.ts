/**
 * The frame that procedures stand in; knows no domain. `member` needs a log-in, `permitted` a permission of the role
 * in the active organization. Faults are logged once, here, and leave without their insides.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { initTRPC, TRPCError } from '@trpc/server';
import { isPermitted, type Permission } from '../identity/roles';
import { inSpan } from '../observe/spans';
import type { RpcContext } from './context';
import { rpcCodeOf } from './errors';

const t = initTRPC.context<RpcContext>().create({
  errorFormatter: ({ shape, error }) => ({
    ...shape,
    // A stack in an answer helps only those who should not have it.
    data: {
      code: shape.data.code,
      httpStatus: shape.data.httpStatus,
      path: shape.data.path,
      reason: error.cause instanceof CodedError ? error.cause.code : null,
    },
  }),
});

const translated = t.procedure.use(async ({ ctx, path, next }) => {
  const { clock, tallies } = ctx.services;
  const begun = clock.monotonicMs();
  const result = await inSpan(
    `procedure ${path}`,
    { attributes: { 'mastline.request': ctx.requestId } },
    next,
  );
  tallies.procedures.note(path.split('.', 1)[0] ?? path, clock.monotonicMs() - begun);
  if (result.ok) return result;
  const { cause } = result.error;
  if (cause instanceof CodedError && rpcCodeOf(cause.code) !== 'INTERNAL_SERVER_ERROR')
    throw new TRPCError({ code: rpcCodeOf(cause.code), message: cause.userMessage, cause });
  if (result.error.code !== 'INTERNAL_SERVER_ERROR') return result;
  ctx.services.log.error({ err: cause ?? result.error, path, requestId: ctx.requestId }, 'procedure failed');
  throw new TRPCError({
    code: 'INTERNAL_SERVER_ERROR',
    message: `Something went wrong on our side. Request ${ctx.requestId} is in the log.`,
    ...(cause === undefined ? {} : { cause }),
  });
});

export const router = t.router;
export const createCallerFactory = t.createCallerFactory;

/** Needs a log-in. */
export const member = translated.use(({ ctx, next }) => {
  if (ctx.viewer === null)
    throw new CodedError('identity/not-logged-in', 'procedure called without a session', {
      userMessage: 'Please log in.',
    });
  return next({ ctx: { ...ctx, viewer: ctx.viewer } });
});

/** Needs a permission of the viewer's role in the active organization. */
export const permitted = (permission: Permission) =>
  member.use(({ ctx, next }) => {
    if (!isPermitted(ctx.viewer.active.role, permission))
      throw new CodedError('identity/not-permitted', `role ${ctx.viewer.active.role} lacks ${permission}`, {
        userMessage: `Your role in ${ctx.viewer.active.name} does not allow this. Ask an owner.`,
      });
    return next();
  });

/** The same, for organizations that run the cloud. Others are told that there is no such thing. */
export const operating = (permission: Permission) =>
  permitted(permission).use(({ ctx, next }) => {
    if (!ctx.viewer.active.kinds.includes('operator'))
      throw new CodedError('identity/not-operator', `${ctx.viewer.active.id} is no operator`, {
        userMessage: 'This does not exist, or belongs to another organization.',
      });
    return next();
  });
