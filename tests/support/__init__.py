"""What several test modules share and no fixture gives: builders of models and files, a predictor that answers by name.

On pytest's path as the package ``support``.
"""
