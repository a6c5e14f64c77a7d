SET LOCAL ROLE tokenvault_owner;

-- An auditor must be able to tell whether anything was lost or stored twice, and may read neither rows, delivery records
-- nor originals. So these functions read on the auditor's behalf, and give nothing but counts by day.

-- The delivery records of each UTC day beside the rows and the quarantine of that day. Records are dropped after 30 days
-- (ingest.drop_expired_delivery_records): for an older day without any, nothing can be proven. A null day is that of rows
-- without a day.
CREATE FUNCTION pii_vault.reconcile_days()
  RETURNS TABLE (
    day date, is_provable boolean, delivery_records bigint,
    rows_recorded bigint, rows_stored bigint, quarantine_recorded bigint, quarantine_stored bigint)
  LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
  SELECT day, coalesce(day >= current_date - 30, true) OR sum(records) > 0, sum(records)::bigint,
    sum(rows_recorded)::bigint, sum(rows_stored)::bigint, sum(quarantine_recorded)::bigint, sum(quarantine_stored)::bigint
  FROM (
    SELECT sent_on, count(*), sum(rows_stored), 0, sum(rows_quarantined), 0 FROM ingest.receipts GROUP BY sent_on
    UNION ALL
    SELECT create_date, 0, 0, count(*), 0, 0 FROM public.user_logins GROUP BY create_date
    UNION ALL
    -- A redriven entry gave rows, and its delivery record says so; a discarded one was quarantined for good.
    SELECT sent_on, 0, 0, 0, 0, count(*) FROM pii_vault.quarantine WHERE state <> 'redriven' GROUP BY sent_on
  ) AS counts (day, records, rows_recorded, rows_stored, quarantine_recorded, quarantine_stored)
  GROUP BY day ORDER BY day
$$;

-- Counts tokens of user_logins without an original, by the day of their rows, and originals without a token, by the UTC
-- day on which they were stored; columns[n] holds the tokens of fields[n]. A token's text holds its id: the first 22
-- letters of its base64url part are the 128 bits of the SIV and 4 bits more. Text that is not a token of its field has no
-- id and so no original. Null is not counted: a column that was added later is null in older rows.
--
-- Both are anti-joins of two scans, which hash or sort within work_mem and spill to disk: memory does not grow with
-- the tables. A nested loop, chosen on stale statistics, would take days.
CREATE FUNCTION pii_vault.reconcile_tokens(fields text[], columns text[])
  RETURNS TABLE (finding text, field text, day date, tokens bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET enable_nestloop = off
AS $$
DECLARE
  stored text;
BEGIN
  -- A match without a capture, and the place of the third part found by hand: a capture costs five times as much.
  SELECT string_agg(format(
    'SELECT %1$L::text AS field, create_date AS day, CASE
       WHEN %2$I ~ %3$L AND length(%2$I) - strpos(substr(%2$I, %4$s), ''_'') >= %4$s + 22
       THEN encode(substr(decode(translate(substr(%2$I, %4$s + strpos(substr(%2$I, %4$s), ''_''), 22), ''-_'', ''+/'')
         || ''AA'', ''base64''), 1, 16), ''hex'')::uuid END AS token_id
     FROM public.user_logins WHERE %2$I IS NOT NULL',
    name, column_name, '^' || name || '_v[1-9][0-9]*_[A-Za-z0-9_-]+$', length(name) + 3), ' UNION ALL ')
  INTO stored
  FROM unnest(fields, columns) AS named (name, column_name);

  RETURN QUERY EXECUTE format(
    'SELECT ''token_without_original'', token.field, token.day, count(*) FROM (%s) AS token
     WHERE NOT EXISTS (SELECT FROM pii_vault.originals AS original
       WHERE original.token_id = token.token_id AND original.field = token.field)
     GROUP BY token.field, token.day ORDER BY 2, 3', stored);
  RETURN QUERY EXECUTE format(
    'SELECT ''original_without_token'', original.field, original.created_at::date, count(*) FROM pii_vault.originals AS original
     WHERE NOT EXISTS (SELECT FROM (%s) AS token
       WHERE token.token_id = original.token_id AND token.field = original.field)
     GROUP BY original.field, original.created_at::date ORDER BY 2, 3', stored);
END
$$;

REVOKE ALL ON FUNCTION pii_vault.reconcile_days(), pii_vault.reconcile_tokens(text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_vault.reconcile_days(), pii_vault.reconcile_tokens(text[], text[]) TO tokenvault_auditor;

RESET ROLE;
