SELECT article, stock, sold_a_day FROM articles
