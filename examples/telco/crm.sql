-- The CRM's table, as an old system would have it: total charges are text, and 11 of them are a blank.
CREATE TABLE customers (
    customer_id text PRIMARY KEY,
    gender text, senior_citizen integer, partner text, dependents text, tenure integer,
    phone_service text, multiple_lines text, internet_service text, online_security text, online_backup text,
    device_protection text, tech_support text, streaming_tv text, streaming_movies text,
    contract text, paperless_billing text, payment_method text,
    monthly_charges numeric(8, 2), total_charges text, churn text,
    updated_at timestamptz NOT NULL DEFAULT timestamptz '2019-01-01' + random() * interval '365 days'
);
CREATE INDEX customers_updated_at ON customers (updated_at);
