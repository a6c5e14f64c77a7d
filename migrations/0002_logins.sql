SET LOCAL ROLE tokenvault_owner;

-- The columns, their types and their order are a promise to analysts: nothing is added to them.
CREATE TABLE public.user_logins (
  user_id varchar(128),
  device_type varchar(32),
  masked_ip varchar(256),
  masked_device_id varchar(256),
  locale varchar(32),
  app_version integer,
  create_date date
) PARTITION BY RANGE (create_date);

-- Takes the rows of months that have no partition of their own.
CREATE TABLE ingest.user_logins_default PARTITION OF public.user_logins DEFAULT;

-- Tokens are looked up by equality only, and have no order worth keeping: a hash index stays small.
CREATE INDEX user_logins_masked_ip ON public.user_logins USING hash (masked_ip);
CREATE INDEX user_logins_masked_device_id ON public.user_logins USING hash (masked_device_id);

COMMENT ON TABLE public.user_logins IS 'One row for each login event. IP address and device id are tokens; partitioned by month of create_date.';
COMMENT ON COLUMN public.user_logins.user_id IS 'The user who logged in, as the producer names them.';
COMMENT ON COLUMN public.user_logins.device_type IS 'Kind of device, as the producer names it, for example ios; null where the event has none.';
COMMENT ON COLUMN public.user_logins.masked_ip IS 'Token of the IP address: ip_v1_ (1 is the version of the token key) and letters of base64url. Equal addresses have equal tokens; null where the deployment does not tokenize this field.';
COMMENT ON COLUMN public.user_logins.masked_device_id IS 'Token of the device id: device_id_v1_ (1 is the version of the token key) and letters of base64url. Equal ids have equal tokens; null where the deployment does not tokenize this field.';
COMMENT ON COLUMN public.user_logins.locale IS 'Locale of the app, as the producer names it; null where the event has none.';
COMMENT ON COLUMN public.user_logins.app_version IS 'First number of the app version: 2 for 2.3.0; null where the event has none.';
COMMENT ON COLUMN public.user_logins.create_date IS 'UTC day on which the producer sent the message that held the event.';
COMMENT ON TABLE ingest.user_logins_default IS 'Partition of public.user_logins for months that have none of their own.';

CREATE VIEW public.duplicate_ips AS
  SELECT masked_ip, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM public.user_logins GROUP BY masked_ip HAVING count(*) > 1;

COMMENT ON VIEW public.duplicate_ips IS 'IP addresses, as tokens, from which there was more than one login.';
COMMENT ON COLUMN public.duplicate_ips.masked_ip IS 'Token of the IP address; null stands for all rows without one.';
COMMENT ON COLUMN public.duplicate_ips.logins IS 'Number of logins from this address, 2 or more.';
COMMENT ON COLUMN public.duplicate_ips.users IS 'Number of different user_id among them; 1 where one user came back.';
COMMENT ON COLUMN public.duplicate_ips.first_day IS 'UTC day of the first of these logins.';
COMMENT ON COLUMN public.duplicate_ips.last_day IS 'UTC day of the last of these logins.';

CREATE VIEW public.duplicate_devices AS
  SELECT masked_device_id, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM public.user_logins GROUP BY masked_device_id HAVING count(*) > 1;

COMMENT ON VIEW public.duplicate_devices IS 'Devices, as tokens, from which there was more than one login.';
COMMENT ON COLUMN public.duplicate_devices.masked_device_id IS 'Token of the device id; null stands for all rows without one.';
COMMENT ON COLUMN public.duplicate_devices.logins IS 'Number of logins from this device, 2 or more.';
COMMENT ON COLUMN public.duplicate_devices.users IS 'Number of different user_id among them; 1 where one user came back.';
COMMENT ON COLUMN public.duplicate_devices.first_day IS 'UTC day of the first of these logins.';
COMMENT ON COLUMN public.duplicate_devices.last_day IS 'UTC day of the last of these logins.';

GRANT INSERT ON public.user_logins TO tokenvault_worker;
GRANT SELECT ON public.user_logins, public.duplicate_ips, public.duplicate_devices TO tokenvault_analyst;

RESET ROLE;
