SET LOCAL ROLE tokenvault_owner;

-- Replaced and not made anew, so that grants stay, and views of analysts that read from these.
-- A login without the value shares nothing with another one: null is no duplicate.
CREATE OR REPLACE VIEW public.duplicate_ips AS
  SELECT masked_ip, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM public.user_logins WHERE masked_ip IS NOT NULL GROUP BY masked_ip HAVING count(*) > 1;

COMMENT ON VIEW public.duplicate_ips IS 'IP addresses, as tokens, from which there was more than one login. Those that several users share have users > 1.';
COMMENT ON COLUMN public.duplicate_ips.masked_ip IS 'Token of the IP address; logins without one are left out.';
COMMENT ON COLUMN public.duplicate_ips.users IS 'Number of different user_id among these logins: 1 where one user came back, 2 or more where users share the address.';

CREATE OR REPLACE VIEW public.duplicate_devices AS
  SELECT masked_device_id, count(*) AS logins, count(DISTINCT user_id) AS users, min(create_date) AS first_day, max(create_date) AS last_day
  FROM public.user_logins WHERE masked_device_id IS NOT NULL GROUP BY masked_device_id HAVING count(*) > 1;

COMMENT ON VIEW public.duplicate_devices IS 'Devices, as tokens, from which there was more than one login. Those that several users share have users > 1.';
COMMENT ON COLUMN public.duplicate_devices.masked_device_id IS 'Token of the device id; logins without one are left out.';
COMMENT ON COLUMN public.duplicate_devices.users IS 'Number of different user_id among these logins: 1 where one user came back, 2 or more where users share the device.';

RESET ROLE;
