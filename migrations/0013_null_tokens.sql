SET LOCAL ROLE tokenvault_owner;

COMMENT ON COLUMN public.user_logins.masked_ip IS 'Token of the IP address: ip_v1_ (1 is the version of the token key) and letters of base64url. Equal addresses have equal tokens; null where the event has none or a placeholder such as 0.0.0.0, and where the deployment does not tokenize this field.';
COMMENT ON COLUMN public.user_logins.masked_device_id IS 'Token of the device id: device_id_v1_ (1 is the version of the token key) and letters of base64url. Equal ids have equal tokens; null where the event has none or a placeholder such as unknown, and where the deployment does not tokenize this field.';

RESET ROLE;
