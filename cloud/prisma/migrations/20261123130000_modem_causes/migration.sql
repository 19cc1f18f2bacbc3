-- Why a modem does not serve, by name, and the last attempt of its box to bring it back
-- (shared/src/domain/modem.ts: MODEM_CAUSES, RecoveryReport).
ALTER TABLE "slots" ADD COLUMN "cause" TEXT;
ALTER TABLE "slots" ADD COLUMN "recovery" JSONB;
