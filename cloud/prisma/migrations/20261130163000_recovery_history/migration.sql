-- The latest attempts to bring the modem of a slot back, newest first, at most twenty (shared/src/domain/modem.ts: RecoveryReport).
ALTER TABLE "slots" ADD COLUMN "recoveries" JSONB NOT NULL DEFAULT '[]';
UPDATE "slots" SET "recoveries" = jsonb_build_array("recovery") WHERE "recovery" IS NOT NULL AND jsonb_typeof("recovery") = 'object';
