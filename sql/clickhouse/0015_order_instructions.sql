-- What the contract of orders grew by: columns at the place of their fields, null for what was written before.

ALTER TABLE orders
    ADD COLUMN IF NOT EXISTS imbalance_only Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'The order takes part in the auction of its time in force only as far as others leave an imbalance against it: it never adds to one (Nasdaq Rules 4752(a), 4754(a)). Null is false.' AFTER locate_id,
    ADD COLUMN IF NOT EXISTS do_not_reduce Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'The price is not lowered by the amount of an ordinary cash dividend on its ex-date (FIX ExecInst F; FINRA Rule 5330). Null is false.' AFTER imbalance_only;
