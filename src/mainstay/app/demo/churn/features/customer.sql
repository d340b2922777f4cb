-- One row per customer: what the model eats. The lab computes the same in train.py.
SELECT
    c.customer_id,
    c.tenure_months,
    year(c.signed_up)                                  AS signup_year,
    coalesce(c.region, 'unknown')                      AS region,
    coalesce(s.contract, 'unknown')                    AS contract,
    coalesce(s.payment_method, 'unknown')              AS payment_method,
    s.monthly_charges,
    coalesce(s.ends_on IS NOT NULL, false)::BIGINT     AS has_end,
    coalesce(t.tickets, 0)                             AS tickets,
    coalesce(t.severe_tickets, 0)                      AS severe_tickets,
    t.satisfaction
FROM customers c
LEFT JOIN subscriptions s ON s.customer_id = c.customer_id
LEFT JOIN (
    SELECT
        customer_id,
        count(*)                                       AS tickets,
        count(*) FILTER (WHERE severity >= 3)          AS severe_tickets,
        avg(satisfaction)                              AS satisfaction
    FROM tickets
    GROUP BY customer_id
) t ON t.customer_id = c.customer_id
