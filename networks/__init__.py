"""siamed.networks"""
