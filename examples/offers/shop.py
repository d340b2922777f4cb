"""Makes shop.db: a small shop's customers, products and sales."""

import sqlite3

CUSTOMERS = [("C1", "private"), ("C2", "business"), ("C3", "private")]
PRODUCTS = [(7, 20.0, "private"), (8, 250.0, "business"), (9, 5.0, "private")]
SALES = [(1, "C1", 9, 5.0), (2, "C1", 9, 5.0), (3, "C2", 8, 250.0), (4, "C3", 7, 20.0)]

with sqlite3.connect("shop.db") as shop:
    shop.execute("CREATE TABLE customers (customer_id TEXT PRIMARY KEY, segment TEXT)")
    shop.execute("CREATE TABLE products (product_id INTEGER PRIMARY KEY, price REAL, made_for TEXT)")
    shop.execute("CREATE TABLE sales (sale_id INTEGER PRIMARY KEY, customer_id TEXT, product_id INTEGER, amount REAL)")
    shop.executemany("INSERT INTO customers VALUES (?, ?)", CUSTOMERS)
    shop.executemany("INSERT INTO products VALUES (?, ?, ?)", PRODUCTS)
    shop.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", SALES)
