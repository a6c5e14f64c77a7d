SET LOCAL ROLE tokenvault_owner;

CREATE SCHEMA ingest;

-- The columns, their types and their order are what analysts were promised; nothing is added to them.
CREATE TABLE public.user_logins (
  user_id varchar(128),
  device_type varchar(32),
  masked_ip varchar(256),
  masked_device_id varchar(256),
  locale varchar(32),
  app_version integer,
  create_date date
) PARTITION BY RANGE (create_date);

CREATE TABLE ingest.user_logins_default PARTITION OF public.user_logins DEFAULT;

-- Tokens are looked for by equality only, and have no order worth keeping: a hash index stays small.
CREATE INDEX user_logins_masked_ip ON public.user_logins USING hash (masked_ip);
CREATE INDEX user_logins_masked_device_id ON public.user_logins USING hash (masked_device_id);

CREATE VIEW public.duplicate_ips AS
  SELECT masked_ip, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM public.user_logins GROUP BY masked_ip HAVING count(*) > 1;

CREATE VIEW public.duplicate_devices AS
  SELECT masked_device_id, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM public.user_logins GROUP BY masked_device_id HAVING count(*) > 1;

GRANT INSERT ON public.user_logins TO tokenvault_worker;
GRANT SELECT ON public.user_logins, public.duplicate_ips, public.duplicate_devices TO tokenvault_analyst;

RESET ROLE;
