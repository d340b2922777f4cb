"""Floor 0: the words of Mainstay as frozen records, and every seam as a Protocol.

Nothing in here reads, writes or imports anything heavy.
"""
