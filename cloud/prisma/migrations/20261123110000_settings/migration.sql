-- What people can set: limits, open addresses, chains, Shadowsocks, TLS. Rows that exist have none of it.
ALTER TABLE "slots" ADD COLUMN "limits" JSONB NOT NULL DEFAULT '{}';
ALTER TABLE "credentials" ADD COLUMN "limits" JSONB NOT NULL DEFAULT '{}';
ALTER TABLE "nodes" ADD COLUMN "certificate" JSONB;
ALTER TABLE "endpoints" ADD COLUMN "shadowsocks" JSONB,
  ADD COLUMN "open_to" JSONB,
  ADD COLUMN "chain" JSONB NOT NULL DEFAULT '[]',
  ADD COLUMN "tls" TEXT;
