SELECT c.customer_id, c.segment, coalesce(sum(s.amount), 0) AS spent
FROM customers c LEFT JOIN sales s USING (customer_id)
GROUP BY c.customer_id, c.segment
