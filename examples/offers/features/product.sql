SELECT p.product_id, p.price, p.made_for, count(s.sale_id) AS sold
FROM products p LEFT JOIN sales s USING (product_id)
GROUP BY p.product_id, p.price, p.made_for
