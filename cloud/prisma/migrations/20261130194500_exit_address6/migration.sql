-- The IPv6 address that a modem leaves by beside its IPv4 one (shared/src/domain/modem.ts). Its history is in modem_addresses, too.
ALTER TABLE "slots" ADD COLUMN "exit_address6" TEXT;
